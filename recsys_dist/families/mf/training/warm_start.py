"""Warm start of a matrix factorization from another run: posteriors, priors and noise.

New users and items start at their priors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from pydantic import JsonValue

from recsys_dist.families.mf.training.state import MfState
from recsys_dist.protocols.warm_start import WarmStart


@dataclass(frozen=True)
class FactorStart(WarmStart):
    """Warm start of a matrix factorization."""

    is_point: bool
    """Whether the posterior has no covariances."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """Priors and noise of the checkpoint, without sums over rows, since these are solved again."""
        saved = MfState.of(self.checkpoint.values)
        begun = saved.model_copy(update={"epoch": 0, "search": saved.search.polish(), "staying_sums": None})
        return begun.model_dump(mode="json")

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint, followed by prior rows for new users or items."""
        num_new = max(0, stop - max(start, self.checkpoint.tables[table].num_rows))
        known = self.known_rows(table, start, stop)
        return {name: torch.cat([rows, self._new(table, name, rows, num_new)]) for name, rows in known.items()}

    def _new(self, table: str, name: str, like: torch.Tensor, num_new: int) -> torch.Tensor:
        """`num_new` prior rows of one column."""
        saved = MfState.of(self.checkpoint.values)
        prior = saved.user_prior if table == "users" else saved.item_prior
        covariance = torch.tensor(prior.covariance, dtype=torch.float64, device="cpu")
        if self.is_point:
            covariance = torch.zeros_like(covariance)
        triangle = torch.triu_indices(*covariance.shape, device="cpu")
        row = {
            "mean": torch.tensor(prior.mean, dtype=torch.float64, device="cpu"),
            # The upper triangle row by row, as on disk.
            "covariance": covariance[triangle[0], triangle[1]],
            "variance": covariance.diagonal(),
            "precision": torch.ones((), device="cpu"),
            "constraint": torch.zeros(like.shape[1:], device="cpu"),
        }[name]
        return row.to(like.dtype).expand(num_new, *like.shape[1:])
