"""What a trainer hands to the checkpoint store and gets back: tables of rows, and a few plain values.

A table is a set of tensors that share their rows (users, items, columns of an AutoRec). Each rank hands over the
rows it answers for; together the ranks cover all rows exactly once. A replicated table is handed over the same
way, each rank a range of its rows, so that all ranks write in parallel and any number of ranks can read back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from pydantic import JsonValue


@dataclass(frozen=True)
class TableRows:
    """Rows `start .. start + n` of a table of `num_rows`; each tensor is [n, ...] on any device."""

    start: int
    num_rows: int
    tensors: Mapping[str, torch.Tensor]

    @property
    def stop(self) -> int:
        """One past the last row."""
        return self.start + len(next(iter(self.tensors.values())))


@dataclass(frozen=True)
class TrainerState:
    """Everything that a trainer needs to go on as if it had never stopped.

    `tables` are written row range by row range; `values` are small, replicated and JSON-able. Floats in `values`
    keep every bit (JSON writes the shortest text that reads back the same).
    """

    tables: Mapping[str, TableRows]
    values: Mapping[str, JsonValue]


class StateReader(Protocol):
    """A saved state, read back piece by piece on any number of ranks."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """The replicated values."""

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows start .. stop of a table, each tensor [stop - start, ...], on the CPU."""


class SavedRun(StateReader, Protocol):
    """A checkpoint and what was noted beside it."""

    @property
    def step(self) -> int:
        """Epochs trained."""

    @property
    def config(self) -> dict[str, JsonValue]:
        """The resolved configuration of the run."""

    @property
    def details(self) -> Mapping[str, JsonValue]:
        """What the training loop noted, the digest of the dataset among it."""
