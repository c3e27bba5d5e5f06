"""State exchanged between a trainer and the checkpoint store: tables of rows, and a few plain values.

A table is a set of tensors with the same rows (users, items, columns of an AutoRec). Each rank passes the rows it
owns; together the ranks cover all rows exactly once. Of a replicated table, too, each rank passes only a range of
rows, so that all ranks write in parallel and any number of ranks can read.
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
    """Everything that a trainer needs to resume exactly.

    `tables` are written in ranges of rows; `values` are small, replicated and JSON-able. Floats in `values` keep
    every bit (JSON writes the shortest text that reads back as the same number).
    """

    tables: Mapping[str, TableRows]
    values: Mapping[str, JsonValue]


class StateReader(Protocol):
    """A saved state, read in pieces on any number of ranks."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """The replicated values."""

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows start .. stop of a table, each tensor [stop - start, ...], on the CPU."""


class SavedRun(StateReader, Protocol):
    """A saved state with its details."""

    @property
    def step(self) -> int:
        """Completed epochs."""

    @property
    def config(self) -> dict[str, JsonValue]:
        """The resolved configuration of the run."""

    @property
    def details(self) -> Mapping[str, JsonValue]:
        """Details from the training loop, including the digest of the dataset."""
