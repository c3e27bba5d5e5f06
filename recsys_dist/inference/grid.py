"""Intervals, and probabilities of the ratings on a grid, from normal predictions.

The grid of a model is the set of distinct train ratings, such as 0.5, 1, ..., 5. The cell of a value extends half
way to its neighbours, the outer cells to infinity; its probability is the mass of the normal in its cell.

N predictions, C grid values
"""

from __future__ import annotations

from numbers import Real
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtr

from recsys_dist.errors import ConfigError
from recsys_dist.model_folder.folder import ModelFolder

LARGEST_GRID = 64
Floats = NDArray[np.float32]


class RatingGrid:
    """Distinct ratings in ascending order: [C]"""

    def __init__(self, values: Floats) -> None:
        self.values = values
        middle = values.astype(np.float64)
        self._edges = (middle[1:] + middle[:-1]) / 2

    @classmethod
    def read(cls, folder: ModelFolder) -> RatingGrid | None:
        """The grid of the train ratings of a model; None for more than `LARGEST_GRID` values, or none."""
        values = np.empty(0, np.float32)
        for shard in range(len(folder.manifest.user_shards)):
            here = pc.unique(pa.array(folder.block(shard).values)).to_numpy()
            values = np.union1d(values, here)
            if len(values) > LARGEST_GRID:
                return None
        return cls(values) if len(values) else None

    def probabilities(self, mean_N: Floats, std_N: Floats) -> Floats:
        """The mass of each cell: [N, C], rows sum to 1."""
        below_NE = ndtr((self._edges - mean_N.astype(np.float64)[:, None]) / std_N.astype(np.float64)[:, None])
        masses: Floats = np.diff(below_NE, axis=1, prepend=0.0, append=1.0).astype(np.float32)
        return masses

    def log_probabilities(self, mean_N: Floats, std_N: Floats, rating_N: Floats) -> NDArray[np.float64]:
        """Log of the mass of the cell of each rating, exact for tiny masses too: [N]"""
        edges = np.concatenate([[-np.inf], self._edges, [np.inf]])
        cell_N = np.searchsorted(self._edges, rating_N)
        mean_N64, std_N64 = mean_N.astype(np.float64), std_N.astype(np.float64)
        low_N, high_N = ((edges[cell_N + side] - mean_N64) / std_N64 for side in (0, 1))
        # Cells right of the mean are mirrored to the left, where log_ndtr keeps its digits.
        is_right_N = low_N > 0
        low_N, high_N = np.where(is_right_N, -high_N, low_N), np.where(is_right_N, -low_N, high_N)
        # log(Phi(b) - Phi(a)) = log Phi(b) + log(1 - exp(log Phi(a) - log Phi(b)))
        log_high_N = log_ndtr(high_N)
        share_N = np.maximum(-np.expm1(log_ndtr(low_N) - log_high_N), np.finfo(np.float64).tiny)
        log_masses: NDArray[np.float64] = log_high_N + np.log(share_N)
        return log_masses


def central_interval(
    mean_N: Floats, std_N: Floats, coverage: float, low: float, high: float
) -> tuple[Floats, Floats]:
    """Bounds that contain a rating with probability `coverage`, clipped to low .. high: two [N].

    Raises `ConfigError` if `coverage` is not between 0 and 1.
    """
    if not isinstance(coverage, Real) or not 0 < coverage < 1 or (1 + coverage) / 2 == 1:
        raise ConfigError(f"coverage {coverage} is not a number between 0 and 1, such as 0.9")
    half_N = NormalDist().inv_cdf((1 + coverage) / 2) * std_N
    return np.clip(mean_N - half_N, low, high), np.clip(mean_N + half_N, low, high)
