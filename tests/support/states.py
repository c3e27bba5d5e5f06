"""States of trainers in memory: as a checkpoint gives them back, and with every shape and dtype that matters."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World

NUM_USERS, NUM_ITEMS = 11, 3


@dataclass(frozen=True)
class SavedRun:
    """A checkpoint in memory, as trainers and merge read it."""

    tables: Mapping[str, Mapping[str, torch.Tensor]]
    values: Mapping[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    step: int = 3

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        return {name: tensor[start:stop].clone() for name, tensor in self.tables[table].items()}


def saved(*states: TrainerState, **run: Any) -> SavedRun:
    """What the ranks hand over, joined and copied as files would; `run` says what is noted beside it."""
    tables = {name: _joined([state.tables[name] for state in states]) for name in states[0].tables}
    return SavedRun(tables, json.loads(json.dumps(dict(states[0].values))), **run)


def _joined(parts: list[TableRows]) -> dict[str, torch.Tensor]:
    assert (parts[0].start, parts[-1].stop) == (0, parts[0].num_rows)
    assert all(before.stop == after.start for before, after in itertools.pairwise(parts))
    return {name: torch.cat([part.tensors[name].detach() for part in parts]) for name in parts[0].tensors}


def single_collectives() -> Collectives:
    return Collectives(World.single())


def whole_tables(version: int = 0) -> dict[str, dict[str, torch.Tensor]]:
    rng = torch.Generator(device="cpu").manual_seed(version)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng, device="cpu", dtype=torch.float32)

    return {
        "users": {
            "factors": normal(NUM_USERS, 4).double(),
            "bias": normal(NUM_USERS),
            "covariance": normal(NUM_USERS, 2, 3).bfloat16(),
            "nothing": normal(NUM_USERS, 0),
        },
        "items": {"count": torch.arange(NUM_ITEMS, device="cpu"), "seen": normal(NUM_ITEMS) > 0},
    }


def state_of_rank(rank: int, size: int, version: int = 0) -> TrainerState:
    """Rank 0 of several owns no items, so that a rank without rows is always among them."""
    tables = {}
    for table, tensors in whole_tables(version).items():
        num_rows = len(next(iter(tensors.values())))
        shift = 1 if table == "items" and size > 1 else 0
        edges = [num_rows * max(0, r - shift) // (size - shift) for r in range(size + 1)]
        start, stop = edges[rank], edges[rank + 1]
        tables[table] = TableRows(start, num_rows, {name: rows[start:stop] for name, rows in tensors.items()})
    return TrainerState(tables, {"noise": 0.1 + 0.2, "version": version, "rng": [2**63, -1], "name": "é"})


def same_tensors(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left
    )
