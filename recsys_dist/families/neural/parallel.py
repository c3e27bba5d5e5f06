"""The module on one rank: replicated, or with sharded tables.

    whole       every rank has all parameters; DistributedDataParallel averages the gradients
    by rows     a rank has the users whose ratings it reads, and an even range of the items; ranks fetch the item
                rows of a step from their owners and send the gradients back (distributed/row_parallel.py). All
                other parameters are replicated, with averaged gradients.

Both take the same steps, up to the order of sums.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.dataset.sharding import row_ranges, share_shards
from recsys_dist.distributed.data_parallel import backward, replicate
from recsys_dist.distributed.row_parallel import AskedRows
from recsys_dist.families.neural.module import PairSource, Rows, empty_module, initial_parts, put, tables_of
from recsys_dist.families.neural.ratings import Pairs
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.scorer import on_device

Range = tuple[int, int]


class ParallelModule(ABC):
    """Parameters of one rank, with initial values. Every method is collective: all ranks must call it."""

    is_split: ClassVar[bool]
    parameters: dict[str, nn.Parameter]
    """The parameters that this rank optimizes, by their names in the module."""

    def __init__(self, family: PairSource, setup: TrainingSetup[Any], ranges: Mapping[Side, Range]) -> None:
        self.ranges = ranges
        """The rows of each side that this rank has."""
        dataset, self._collectives = setup.dataset, setup.collectives
        self.device = setup.collectives.world.device
        rating = dataset.manifest.rating
        # A whole table also has the row for unknown users or items, which training does not touch.
        drawn = {side: (start, stop + (not self.is_split)) for side, (start, stop) in ranges.items()}
        parts = initial_parts(family, setup.settings, rating, setup.seed, drawn)
        self.module = empty_module(family, setup.settings, dataset.num_users, dataset.num_items, rating)
        self._names = {side: tables_of(family, side) for side in SIDES}
        self._tables = {name: rows.to(self.device) for side in SIDES for name, rows in parts.rows(side).items()}
        self.rest_names = tuple(parts.rest)
        for name, tensor in parts.rest.items():
            put(self.module, name, tensor.to(self.device), is_parameter=True)
        for name, tensor in parts.buffers.items():
            put(self.module, name, tensor.to(self.device), is_parameter=False)

    def rows_of(self, side: Side, tensors: Mapping[str, torch.Tensor]) -> Rows:
        """This rank's rows of each table of a side, from `tensors` by table name: views."""
        start, stop = self.ranges[side]
        return {name: tensors[name][: stop - start] for name in self._names[side]}

    @abstractmethod
    def ratings(self, pairs: Pairs) -> torch.Tensor:
        """Predictions for this rank's pairs: [N]"""

    @abstractmethod
    def add_gradients(self, loss: torch.Tensor) -> None:
        """Set this rank's gradients of the sum of all ranks' losses."""


def parallel_module(family: PairSource, setup: TrainingSetup[Any]) -> ParallelModule:
    """The module in the form that `model.parallel` names; replicated on a single rank."""
    if setup.settings.parallel == "sharded" and setup.collectives.world.size > 1:
        return SplitModule(family, setup)
    return WholeModule(family, setup)


class WholeModule(ParallelModule):
    """All parameters on every rank."""

    is_split = False

    def __init__(self, family: PairSource, setup: TrainingSetup[Any]) -> None:
        super().__init__(
            family, setup, {"users": (0, setup.dataset.num_users), "items": (0, setup.dataset.num_items)}
        )
        for name, table in self._tables.items():
            put(self.module, name, table, is_parameter=True)
        self.parameters = dict(self.module.named_parameters())
        self._replica = replicate(self.module, setup.collectives)

    def ratings(self, pairs: Pairs) -> torch.Tensor:
        """Predictions: [N]"""
        # Without gradients, skip DistributedDataParallel: ranks need not wait for each other.
        call = self._replica if torch.is_grad_enabled() else self.module
        rating_N: torch.Tensor = call(on_device(pairs.user_N, self.device), on_device(pairs.item_N, self.device))
        return rating_N

    def add_gradients(self, loss: torch.Tensor) -> None:
        """Scale by the number of ranks, since DistributedDataParallel averages."""
        backward(loss * self._collectives.world.size, self._collectives)


class SplitModule(ParallelModule):
    """A range of the rows of each table, and all other parameters."""

    is_split = True

    def __init__(self, family: PairSource, setup: TrainingSetup[Any]) -> None:
        world, shards = setup.collectives.world, setup.dataset.shards("users")
        users = row_ranges(shards, share_shards(shards, world.size))
        edges = [rank * setup.dataset.num_items // world.size for rank in range(world.size + 1)]
        self._item_ranges = list(itertools.pairwise(edges))
        super().__init__(family, setup, {"users": users[world.rank], "items": self._item_ranges[world.rank]})
        for name, table in self._tables.items():
            # A placeholder for the rows of a step; ranks neither compare nor average an empty buffer.
            put(self.module, name, table[:0], is_parameter=False)
        own = {name: nn.Parameter(table) for name, table in self._tables.items()}
        self.parameters = {**own, **dict(self.module.named_parameters())}
        self._call = _CallWithRows(self.module)
        self._replica = replicate(self._call, setup.collectives) if self.rest_names else self._call
        self._waiting: tuple[AskedRows, Rows] | None = None
        """The item rows of the last step, whose gradients must be sent to their owners."""

    def ratings(self, pairs: Pairs) -> torch.Tensor:
        """Predictions: [N]"""
        user_R, user_place_N = np.unique(pairs.user_N - self.ranges["users"][0], return_inverse=True)
        item_M, item_place_N = np.unique(pairs.item_N, return_inverse=True)
        asked = AskedRows.of(on_device(item_M, self.device), self._item_ranges, self._collectives)
        items = {name: asked.fetch(self.parameters[name].detach()) for name in self._names["items"]}
        for rows in items.values():
            rows.requires_grad_(torch.is_grad_enabled())
        row_R = on_device(user_R, self.device)
        users = {name: self.parameters[name].index_select(0, row_R) for name in self._names["users"]}
        self._waiting = (asked, items)
        call = self._replica if torch.is_grad_enabled() else self._call
        rating_N: torch.Tensor = call(
            {**users, **items}, on_device(user_place_N, self.device), on_device(item_place_N, self.device)
        )
        return rating_N

    def add_gradients(self, loss: torch.Tensor) -> None:
        """Backward pass: send item gradients to their owners, and turn averaged gradients into sums."""
        assert self._waiting is not None, "a step begins with its predictions"
        asked, items = self._waiting
        backward(loss, self._collectives)
        for name in self.rest_names:
            gradient = self.parameters[name].grad
            if gradient is not None:
                gradient *= self._collectives.world.size
        for name, rows in items.items():
            own = self.parameters[name]
            own.grad = torch.zeros_like(own)
            asked.add(torch.zeros_like(rows) if rows.grad is None else rows.grad, own.grad)


class _CallWithRows(nn.Module):
    """The module with the rows of a step in place of its tables."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, rows: Rows, user_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        rating_N: torch.Tensor = functional_call(self.module, rows, (user_N, item_N))
        return rating_N
