"""Warm start of iALS from another run: vectors and the penalty. New users and items start at zero vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from recsys_dist.families.ials.training.state import IalsState
from recsys_dist.protocols.warm_start import WarmStart


@dataclass(frozen=True)
class IalsStart(WarmStart):
    """Warm start of iALS."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """The search of the checkpoint, at its end, and no epoch done."""
        saved = IalsState.of(self.checkpoint.values)
        begun = {"epoch": 0, "objective": None, "has_converged": False, "search": saved.search.end()}
        return saved.model_copy(update=begun).model_dump(mode="json")

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint, followed by zero rows for new users or items."""
        known_RK = self.known_rows(table, start, stop)["vector"]
        new_RK = known_RK.new_zeros((stop - start - len(known_RK), known_RK.shape[1]))
        return {"vector": torch.cat([known_RK, new_RK])}
