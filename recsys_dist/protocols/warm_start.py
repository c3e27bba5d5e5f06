"""The state of a new run that begins with what another has learnt, on a dataset that may have grown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from recsys_dist.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True)
class WarmStart(ABC):
    """A `StateReader` for the users and items of a dataset that may have grown."""

    checkpoint: Checkpoint

    @property
    @abstractmethod
    def values(self) -> Mapping[str, JsonValue]:
        """Those of a run that begins."""

    @abstractmethod
    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint, where it has them."""

    def known_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Those of the rows start .. stop that the checkpoint has."""
        num_known = self.checkpoint.tables[table].num_rows
        return self.checkpoint.read_rows(table, min(start, num_known), min(stop, num_known))
