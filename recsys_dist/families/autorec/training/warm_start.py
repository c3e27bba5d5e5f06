"""Warm start of an AutoRec from another run: parameters and tuned settings.

New users and items keep their usual initial values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from recsys_dist.families.autorec.training.state import AutorecState
from recsys_dist.protocols.warm_start import WarmStart


@dataclass(frozen=True)
class AutorecStart(WarmStart):
    """Warm start of an AutoRec: parameters and tuned settings, with a fresh optimizer."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """Values with zero sums and steps, and the search ended with its best choice."""
        saved = AutorecState.of(self.checkpoint.values)
        begun = {"epoch": 0, "step": 0, "sums": ((0.0, 0.0, 0.0),), "optimizer": None}
        return saved.model_copy(update={**begun, "search": saved.search.finish()}).model_dump(mode="json")

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint, possibly fewer than requested; the other rows keep their initial values."""
        return self.known_rows(table, start, stop)
