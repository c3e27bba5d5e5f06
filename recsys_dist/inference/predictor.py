"""Predictions of a scorer by dense index: NumPy in and out, clipped to the range of the data.

N pairs of a user and an item, C values of the rating grid
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.inference.catalog import Catalog
from recsys_dist.inference.grid import LARGEST_GRID, central_interval
from recsys_dist.protocols.scorer import Scorer, Uncertainty, on_device

Floats = NDArray[np.float32]
Index = NDArray[np.int64]
Pairs = tuple[Any, Index, Index]
"""Users in the form of the scorer, the row of each pair's user among them, and items by dense index."""


class Predictor:
    """A catalog and the scorer of its users and items, on one device."""

    def __init__(self, catalog: Catalog, scorer: Scorer[Any], device: torch.device) -> None:
        self.catalog, self.scorer, self.device = catalog, scorer, device

    def __repr__(self) -> str:
        catalog = self.catalog
        sides = f"{len(catalog.user_ids):,} users, {len(catalog.item_ids):,} items"
        return f"<Model {catalog.url!r}: {catalog.folder.manifest.kind}, {sides}, on {self.device}>"

    @property
    def uncertainty(self) -> Uncertainty[Any]:
        """The uncertainty of the scorer. Raises `ConfigError` if it has none."""
        if self.scorer.uncertainty is None:
            raise ConfigError(
                f"{self.catalog.url} has no uncertainty; train kind: mf with posterior: full or diagonal"
            )
        return self.scorer.uncertainty

    def require_ratings(self) -> None:
        """Raise `ConfigError` if the model ranks items and predicts no ratings."""
        if not self.scorer.predicts_ratings:
            raise ConfigError(
                f"{self.catalog.url} ranks items and predicts no ratings (kind: "
                f"{self.catalog.folder.manifest.kind}); use recommend, or train kind: mf or autorec"
            )

    def known(self, user_B: Index) -> Any:
        """Users by dense index, in the form of the scorer."""
        return self.scorer.known(on_device(user_B, self.device))

    def by_index(self, user_N: Index, item_N: Index) -> Pairs:
        """Pairs from dense indices; each user is looked up once, however many pairs it has."""
        user_R, row_N = np.unique(user_N, return_inverse=True)
        return self.known(user_R), row_N, item_N

    def ratings(self, users: Any, row_N: Index, item_N: Index, clip: bool = True) -> Floats:
        """Predicted ratings of pairs, or scores of a model that ranks; `row_N` indexes `users`: [N]"""
        rating_N = self.scorer.ratings(users, on_device(row_N, self.device), on_device(item_N, self.device))
        if clip and self.scorer.predicts_ratings:
            rating_N = rating_N.clamp(self.catalog.rating.min, self.catalog.rating.max)
        ratings: Floats = rating_N.cpu().numpy()
        return ratings

    def stds(self, users: Any, row_N: Index, item_N: Index) -> Floats:
        """Standard deviations of ratings around their predictions, noise included: [N]"""
        std_N = self.uncertainty.stds(users, on_device(row_N, self.device), on_device(item_N, self.device))
        stds: Floats = std_N.cpu().numpy()
        return stds

    def interval(self, users: Any, row_N: Index, item_N: Index, coverage: float) -> tuple[Floats, Floats]:
        """Bounds that contain the rating with probability `coverage`, clipped: two [N]."""
        mean_N, std_N = self.ratings(users, row_N, item_N, clip=False), self.stds(users, row_N, item_N)
        return central_interval(mean_N, std_N, coverage, self.catalog.rating.min, self.catalog.rating.max)

    def probabilities(self, users: Any, row_N: Index, item_N: Index) -> tuple[Floats, Floats]:
        """Probability of each rating on the grid: [N, C], rows sum to 1; and the grid itself: [C]."""
        mean_N, std_N = self.ratings(users, row_N, item_N, clip=False), self.stds(users, row_N, item_N)
        grid = self.catalog.grid
        if grid is None:
            raise ConfigError(
                f"{self.catalog.url} was trained on more than {LARGEST_GRID} distinct ratings, too many for a "
                "grid, or has none of them; use predict_interval"
            )
        return grid.probabilities(mean_N, std_N), grid.values.copy()
