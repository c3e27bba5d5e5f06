"""An AutoRec that begins with what another has learnt: parameters, and settings that were found out.

Users and items that were not there yet stand where training begins anyhow.
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
    """Of an AutoRec: parameters, and settings that were found out; its optimizer remembers nothing."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """No sums, no steps, and the search over with what is best so far."""
        saved = AutorecState.of(self.checkpoint.values)
        begun = {"epoch": 0, "step": 0, "sums": ((0.0, 0.0, 0.0),), "optimizer": None}
        return saved.model_copy(update={**begun, "search": saved.search.finish()}).model_dump(mode="json")

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint alone, so perhaps fewer than asked for: the others stay as they are."""
        return self.known_rows(table, start, stop)
