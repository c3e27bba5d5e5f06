"""Warm start: the initial state of a new run, taken from another run on a dataset that may have grown since."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from recsys_dist.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True)
class WarmStart(ABC):
    """A `StateReader` that maps a checkpoint to the users and items of a grown dataset."""

    checkpoint: Checkpoint

    @property
    @abstractmethod
    def values(self) -> Mapping[str, JsonValue]:
        """Values for the start of a run."""

    @abstractmethod
    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows start .. stop; from the checkpoint as far as it has them."""

    def known_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """The rows in start .. stop that the checkpoint has."""
        num_known = self.checkpoint.tables[table].num_rows
        return self.checkpoint.read_rows(table, min(start, num_known), min(stop, num_known))
