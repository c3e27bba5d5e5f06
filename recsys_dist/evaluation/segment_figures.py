"""The figures of the segments, from the sums of errors and the ranked users.

Q ranked users, T cuts, M metrics, S segments
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recsys_dist.evaluation.errors import HeldOutErrors
from recsys_dist.evaluation.ranking import RankedUsers, mean_metrics
from recsys_dist.evaluation.report import (
    Errors,
    ItemCut,
    ItemSegment,
    ListFigures,
    RatingSegment,
    SegmentFigures,
    UserSegment,
)
from recsys_dist.evaluation.segments import Segments
from recsys_dist.metrics import METRICS


def segment_figures(
    found: HeldOutErrors, ranked: RankedUsers | None, num_known_U: NDArray[np.int64]
) -> SegmentFigures:
    """The figures of all segments with a held-out rating."""
    return SegmentFigures(
        users=tuple(_users(found, ranked, Segments.of_users(num_known_U))),
        items=tuple(_items(found, ranked)),
        ratings=tuple(_ratings(found)),
    )


def _users(found: HeldOutErrors, ranked: RankedUsers | None, segments: Segments) -> Iterator[UserSegment]:
    errors = found.by_user.over(segments.segment_R, len(segments))
    for segment in np.flatnonzero(errors.count_G).tolist():
        metric_QTM = np.empty((0, 0, 0)) if ranked is None else ranked.metric_QTM
        if ranked is not None:
            metric_QTM = metric_QTM[segments.segment_R[ranked.user_Q] == segment]
        yield UserSegment(
            low=int(segments.low_S[segment]),
            high=int(segments.high_S[segment]),
            errors=Errors.of(errors.sums(segment)),
            ranked_users=len(metric_QTM),
            cuts=() if ranked is None else _list_figures(ranked.tops, metric_QTM),
        )


def _list_figures(tops: tuple[int, ...], metric_QTM: NDArray[np.float64]) -> tuple[ListFigures, ...]:
    return tuple(
        ListFigures(top=top, **dict(zip(METRICS, mean_M, strict=True)))
        for top, mean_M in zip(tops, mean_metrics(metric_QTM).tolist(), strict=True)
    )


def _items(found: HeldOutErrors, ranked: RankedUsers | None) -> Iterator[ItemSegment]:
    segments = found.item_segments
    for segment in np.flatnonzero(found.by_item_segment.count_G).tolist():
        yield ItemSegment(
            low=int(segments.low_S[segment]),
            high=int(segments.high_S[segment]),
            num_items=int(segments.num_rows_S[segment]),
            errors=Errors.of(found.by_item_segment.sums(segment)),
            relevant=0 if ranked is None else int(ranked.relevant_S[segment]),
            cuts=() if ranked is None else tuple(_item_cuts(ranked, segment)),
        )


def _item_cuts(ranked: RankedUsers, segment: int) -> Iterator[ItemCut]:
    places_T = ranked.listed_TS.sum(1)
    for cut, top in enumerate(ranked.tops):
        yield ItemCut(
            top=top,
            recall=_share(ranked.hits_TS[cut, segment], ranked.relevant_S[segment]),
            listed=_share(ranked.listed_TS[cut, segment], places_T[cut]),
        )


def _share(part: np.int64, whole: np.int64) -> float:
    return float(part) / float(whole) if whole else math.nan


def _ratings(found: HeldOutErrors) -> Iterator[RatingSegment]:
    if found.values is None:
        return
    for segment in np.flatnonzero(found.by_value.count_G).tolist():
        low, high = float(found.values.low_S[segment]), float(found.values.high_S[segment])
        yield RatingSegment(low=low, high=high, errors=Errors.of(found.by_value.sums(segment)))
