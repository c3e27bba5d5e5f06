"""Errors over ratings and metrics of ranked lists; docs/metrics.md gives the sources.

Ranks exchange sums and counts; `rmse` and `mae` divide once, at the end. RMSE is the root of the mean over all
ratings, never a mean of per-user values.

N ratings, G groups of ratings, B users, n places of a list, H hits, T cuts, M metrics, I items
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
METRICS = ("recall", "truncated_recall", "precision", "hit_rate", "mrr", "map", "ndcg")
"""The metrics of one user's list, in the order of the last axis of `list_metrics`."""


@dataclass(frozen=True)
class ErrorSums:
    """Squared and absolute errors summed over `count` ratings; NaN where a model predicts no ratings."""

    squared: float = 0.0
    absolute: float = 0.0
    count: int = 0

    @classmethod
    def of(cls, predicted: NDArray[np.floating], actual: NDArray[np.floating]) -> ErrorSums:
        """Sums over two arrays of equal length, in float64."""
        error = np.asarray(predicted, np.float64) - np.asarray(actual, np.float64)
        return cls(float(error @ error), float(np.abs(error).sum()), len(error))

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(self.squared + other.squared, self.absolute + other.absolute, self.count + other.count)

    @property
    def rmse(self) -> float:
        """sqrt(sum of squares / count); NaN over no ratings."""
        return math.sqrt(self.squared / self.count) if self.count else math.nan

    @property
    def mae(self) -> float:
        """Sum of absolute errors / count; NaN over no ratings."""
        return self.absolute / self.count if self.count else math.nan


@dataclass
class GroupedErrors:
    """Error sums of groups of ratings: users, or ranges of items or ratings."""

    num_groups: int
    squared_G: Floats = field(init=False)
    absolute_G: Floats = field(init=False)
    count_G: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.squared_G, self.absolute_G = np.zeros(self.num_groups), np.zeros(self.num_groups)
        self.count_G = np.zeros(self.num_groups, np.int64)

    def add(self, group_N: NDArray[np.integer], error_N: Floats) -> None:
        """Add the errors of ratings to their groups."""
        if not len(group_N):
            return
        # The users of a shard are consecutive, so the counts of their range are few.
        low = int(group_N.min())
        here_N = group_N - low
        part = slice(low, int(group_N.max()) + 1)
        self.squared_G[part] += np.bincount(here_N, error_N**2)
        self.absolute_G[part] += np.bincount(here_N, np.abs(error_N))
        self.count_G[part] += np.bincount(here_N)

    def over(self, segment_G: NDArray[np.int64], num_segments: int) -> GroupedErrors:
        """The sums of each segment of groups."""
        whole = GroupedErrors(num_segments)
        whole.squared_G = np.bincount(segment_G, self.squared_G, num_segments).astype(np.float64)
        whole.absolute_G = np.bincount(segment_G, self.absolute_G, num_segments).astype(np.float64)
        whole.count_G = np.bincount(segment_G, self.count_G, num_segments).astype(np.int64)
        return whole

    def sums(self, group: int) -> ErrorSums:
        """The sums of one group."""
        squared, absolute = float(self.squared_G[group]), float(self.absolute_G[group])
        return ErrorSums(squared, absolute, int(self.count_G[group]))


def list_metrics(is_hit_Bn: NDArray[np.bool_], num_relevant_B: NDArray[np.integer], tops: Sequence[int]) -> Floats:
    """All `METRICS` of B lists of n places, best first, cut at each of `tops`: [B, T, M].

    `num_relevant_B` >= 1: relevant items R, in the list or not. A cut c beyond n is one of the whole list. With
    hits h = relevant items among the first c places, p = place from 1:

        recall = h / R     truncated_recall = h / min(R, c)     precision = h / c     hit_rate = 1 if h > 0, else 0
        mrr = 1 / p of the first hit, 0 without a hit
        map = sum over the hits of (hits up to p) / p, divided by min(R, c)
        ndcg = DCG / the DCG of a list that begins with all relevant items,
               DCG = sum over the hits of 1 / log2(p + 1)
    """
    row_H, place_H = np.nonzero(is_hit_Bn)
    count_B = np.bincount(row_H, minlength=len(is_hit_Bn))
    nth_H = np.arange(1, len(row_H) + 1) - np.repeat(np.cumsum(count_B) - count_B, count_B)
    weights = {
        "hits": np.ones(len(row_H)),
        "mrr": (nth_H == 1) / (place_H + 1),
        "map": nth_H / (place_H + 1),
        "ndcg": 1 / np.log2(place_H + 2),
    }
    longest = min(max(tops), int(num_relevant_B.max(initial=0)))
    ideal_n = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(longest) + 2))])
    metric_BTM = np.empty((len(is_hit_Bn), len(tops), len(METRICS)))
    for cut, top in enumerate(tops):
        within = place_H < top
        sums = {
            name: np.bincount(row_H[within], weight_H[within], len(is_hit_Bn))
            for name, weight_H in weights.items()
        }
        hits_B, possible_B = sums["hits"], np.minimum(num_relevant_B, min(top, longest))
        figures = {
            "recall": hits_B / num_relevant_B,
            "truncated_recall": hits_B / possible_B,
            "precision": hits_B / top,
            "hit_rate": hits_B > 0,
            "mrr": sums["mrr"],
            "map": sums["map"] / possible_B,
            "ndcg": sums["ndcg"] / ideal_n[possible_B],
        }
        metric_BTM[:, cut] = np.stack([figures[name] for name in METRICS], 1)
    return metric_BTM


def ndcg_sums(is_hit_Bn: NDArray[np.bool_], num_relevant_B: NDArray[np.integer]) -> Floats:
    """The nDCG of whole lists, as in `list_metrics`, summed over users, and the number of users: [2]"""
    ndcg_B = list_metrics(is_hit_Bn, num_relevant_B, [is_hit_Bn.shape[1]])[:, 0, METRICS.index("ndcg")]
    return np.array([ndcg_B.sum(), len(ndcg_B)])


@dataclass(frozen=True)
class CatalogueMetrics:
    """Which items fill the places of all lists; NaN without lists."""

    coverage: float
    """Share of the catalogue that is in at least one list."""
    novelty: float
    """Mean over the places of -log2(share of users who rated the item in training), in bits."""
    gini: float
    """Gini index of the number of lists per item: 0 if all are equally often listed, 1 if always the same one."""
    mean_popularity: float
    """Mean over the places of the item's number of train ratings."""

    @classmethod
    def of(cls, listed_I: NDArray[np.int64], num_train_I: NDArray[np.int64], num_users: int) -> CatalogueMetrics:
        """From the number of lists that contain each item; items without a train rating count as rated once."""
        places, num_items = int(listed_I.sum()), len(listed_I)
        if not places:
            return cls(math.nan, math.nan, math.nan, math.nan)
        information_I = np.log2(max(1, num_users)) - np.log2(np.maximum(num_train_I, 1))
        # G = sum over j of (2 j - I - 1) x_j / ((I - 1) sum of x), x ascending, j from 1
        spread = float((2 * np.arange(1, num_items + 1) - num_items - 1) @ np.sort(listed_I).astype(np.float64))
        return cls(
            coverage=np.count_nonzero(listed_I) / num_items,
            novelty=float(listed_I @ information_I) / places,
            gini=spread / (max(1, num_items - 1) * places),
            mean_popularity=float(listed_I @ num_train_I.astype(np.float64)) / places,
        )
