"""Scorer of a trained module: users, known or folded in, are rows of its user tables.

B users of a block, I items, N pairs
"""

from __future__ import annotations

from typing import Any

import torch
from torch.func import functional_call

from recsys_dist.config import parse_settings
from recsys_dist.dataset.manifest import Side
from recsys_dist.errors import CheckpointError
from recsys_dist.families.neural.module import PairSource, Rows, empty_module, put, tables_of
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.strict_model import StrictModel

PAIRS_AT_ONCE = 1 << 18
FOLD_IN_STEPS = 50


class PairFacts(StrictModel):
    """Facts of a neural model in model.json: the settings that build its module."""

    settings: dict[str, Any]


class PairScorer:
    """Implements the protocol of protocols/scorer.py. `UsersT` are rows of each user table: [B, ...]."""

    predicts_ratings = True
    uncertainty = None

    def __init__(self, family: PairSource, folder: ModelFolder, device: torch.device) -> None:
        self._family, self._device = family, device
        source = f"{folder.folder.url}: settings"
        self._settings: Any = parse_settings(family.settings, folder.facts(PairFacts).settings, source=source)
        self._num_items = folder.num_rows("items")
        counts = folder.num_rows("users"), self._num_items
        self._module = empty_module(family, self._settings, *counts, folder.manifest.rating).eval()
        self._users, self._items = self._rows(folder, "users"), self._rows(folder, "items")
        for name, rows in self._items.items():
            put(self._module, name, rows, is_parameter=True)
        for name in self._users:
            put(self._module, name, torch.empty(0, device=device), is_parameter=False)
        self._fill(folder, "rest", dict(self._module.named_parameters()), self._items)
        buffers = {name: buffer for name, buffer in self._module.named_buffers() if name not in self._users}
        self._fill(folder, "buffers", buffers, {})
        self._module.requires_grad_(requires_grad=False)

    def _rows(self, folder: ModelFolder, side: Side) -> Rows:
        """The tables of one side. Rows without a train rating are replaced by the row for unknown ones."""
        chunks = [chunk for _, chunk in folder.table(side).chunks()]
        wanted = tables_of(self._family, side)
        if chunks[0].keys() != set(wanted):
            raise CheckpointError(
                f"{folder.folder.url}: table {side} has {', '.join(chunks[0])}, but {self._family.name} has "
                f"{', '.join(wanted)}; use the class that the model was trained with"
            )
        is_cold_R = torch.from_numpy(folder.num_train(side) == 0)
        rows = {name: torch.cat([chunk[name] for chunk in chunks]) for name in wanted}
        for tensor in rows.values():
            tensor[:-1][is_cold_R] = tensor[-1].clone()
        return {name: tensor.to(self._device) for name, tensor in rows.items()}

    def _fill(self, folder: ModelFolder, table: str, tensors: Rows, known: Rows) -> None:
        """Fill the parameters or buffers that are not in `known` from a table, in their order."""
        left = {name: tensor for name, tensor in tensors.items() if name not in known and tensor.numel()}
        size = sum(tensor.numel() for tensor in left.values())
        has = folder.table(table).num_rows if folder.has_table(table) else 0
        if has != size:
            raise CheckpointError(
                f"{folder.folder.url}: table {table} has {has} numbers, but the module has {size}; use the class "
                "that the model was trained with"
            )
        if not size:
            return
        value_P = torch.cat([chunk["value"] for _, chunk in folder.table(table).chunks()])
        pieces = value_P.split([tensor.numel() for tensor in left.values()])
        for (name, tensor), piece in zip(left.items(), pieces, strict=True):
            filled = piece.view(tensor.shape).to(dtype=tensor.dtype, device=self._device)
            put(self._module, name, filled, is_parameter=table == "rest")

    def known(self, user_B: torch.Tensor) -> Rows:
        """Rows of known users."""
        return {name: table[user_B] for name, table in self._users.items()}

    @torch.no_grad()
    def ratings(self, users: Rows, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """Predicted ratings, with one forward pass per pair: [N]"""
        rating_N = torch.empty(len(row_N), dtype=torch.float32, device=self._device)
        for start in range(0, len(row_N), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            rating_N[part] = self._forward(users, row_N[part], item_N[part])
        return rating_N

    def scores(self, users: Rows) -> torch.Tensor:
        """Predicted ratings of all items for each user: [B, I]"""
        num_users, at_once = len(next(iter(users.values()))), max(1, PAIRS_AT_ONCE // self._num_items)
        score_BI = torch.empty((num_users, self._num_items), dtype=torch.float32, device=self._device)
        for start in range(0, num_users, at_once):
            row_b = torch.arange(start, min(start + at_once, num_users), device=self._device)
            item_N = torch.arange(self._num_items, device=self._device).repeat(len(row_b))
            rating_N = self.ratings(users, row_b.repeat_interleave(self._num_items), item_N)
            score_BI[start : start + at_once] = rating_N.view(len(row_b), self._num_items)
        return score_BI

    def vectors(self, side: Side) -> torch.Tensor:
        """Concatenated rows of all tables of a side, minus the average row: [R, K]"""
        tables = self._users if side == "users" else self._items
        joined_RK = torch.cat([table.flatten(1) for table in tables.values()], 1)
        return joined_RK[:-1] - joined_RK[-1]

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> Rows:  # noqa: ARG002
        """Fit a new row in each user table by L-BFGS; all other parameters are frozen.

        argmin over x of sum of (r_n - rating_n)^2 + fold_in_regularization |x - average|^2
        """
        average = {name: table[-1:].clone() for name, table in self._users.items()}
        if not len(item_N):
            return average
        rows = {name: tensor.clone().requires_grad_() for name, tensor in average.items()}
        pull, row_N = self._settings.fold_in_regularization, torch.zeros_like(item_N)
        optimizer = torch.optim.LBFGS(rows.values(), max_iter=FOLD_IN_STEPS, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            error_N = self._forward(rows, row_N, item_N) - rating_N
            moved = torch.stack([(rows[name] - average[name]).square().sum() for name in rows])
            total: torch.Tensor = error_N.square().sum() + pull * moved.sum()
            total.backward()
            return total

        with torch.enable_grad():
            optimizer.step(loss)
        return {name: tensor.detach() for name, tensor in rows.items()}

    def _forward(self, users: Rows, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        rating_N: torch.Tensor = functional_call(self._module, users, (row_N, item_N))
        return rating_N
