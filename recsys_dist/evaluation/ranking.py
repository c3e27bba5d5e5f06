"""Ranking: all items of which the model knows no rating of the user are ranked; liked held-out items are relevant.

U users, I items, B users of a block, n places of a list, N held-out ratings, Q ranked users, T cuts, M metrics,
S segments of items
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Ratings
from recsys_dist.evaluation.popularity import PopularityLists
from recsys_dist.evaluation.report import CutFigures, Ranking
from recsys_dist.evaluation.segments import Segments
from recsys_dist.evaluation.settings import EvaluationSettings
from recsys_dist.evaluation.users import EvaluatedUsers
from recsys_dist.inference.top import best_items, users_per_block
from recsys_dist.metrics import METRICS, CatalogueMetrics, list_metrics

SAMPLE_SEED = 0
FLOATS_PER_PLACE = 16
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Liked:
    """The relevant held-out ratings: those of at least `relevant_from`; None: all.

    Users and items unknown to the model cannot be ranked and do not count.
    """

    relevant_from: float | None
    num_users: int
    num_items: int

    def pairs(self, held_out: Ratings) -> tuple[Index, Index]:
        """Users and items of the relevant ratings."""
        mine = (held_out.user_index < self.num_users) & (held_out.item_index < self.num_items)
        if self.relevant_from is not None:
            mine &= held_out.rating >= self.relevant_from
        return held_out.user_index[mine], held_out.item_index[mine]


@dataclass
class Lists:
    """Figures of the lists of one way to rank, block by block."""

    tops: tuple[int, ...]
    item_segments: Segments
    metrics: list[NDArray[np.float64]] = field(default_factory=list)
    """[B, T, M] of each block."""
    listed_TI: NDArray[np.int64] = field(init=False)
    """Number of lists with each item: added from one cut to the next."""
    hits_TS: NDArray[np.int64] = field(init=False)
    """Number of hits in each segment, likewise."""

    def __post_init__(self) -> None:
        self.listed_TI = np.zeros((len(self.tops), len(self.item_segments.segment_R) - 1), np.int64)
        self.hits_TS = np.zeros((len(self.tops), len(self.item_segments)), np.int64)

    def add(self, item_Bn: Index, is_filled_Bn: NDArray[np.bool_], relevant: _Relevant) -> None:
        """Add the lists of a block; places that are not filled come last."""
        is_hit_Bn = relevant.is_relevant_BI[np.arange(len(item_Bn))[:, None], item_Bn] & is_filled_Bn
        self.metrics.append(list_metrics(is_hit_Bn, relevant.count_B, self.tops))
        num_items, num_segments = self.listed_TI.shape[1], self.hits_TS.shape[1]
        for cut, (start, stop) in enumerate(zip((0, *self.tops), self.tops, strict=False)):
            item_Bp, part = item_Bn[:, start:stop], slice(start, stop)
            self.listed_TI[cut] += np.bincount(item_Bp[is_filled_Bn[:, part]], minlength=num_items)
            segment_H = self.item_segments.segment_R[item_Bp[is_hit_Bn[:, part]]]
            self.hits_TS[cut] += np.bincount(segment_H, minlength=num_segments)

    def metric_QTM(self) -> NDArray[np.float64]:
        """The metrics of all users."""
        return np.concatenate([np.empty((0, len(self.tops), len(METRICS))), *self.metrics])

    def cuts(self, num_train_I: Index, num_users: int) -> tuple[CutFigures, ...]:
        """The figures at each cut; `num_users` have a train rating."""
        mean_TM = mean_metrics(self.metric_QTM())
        lists = [CatalogueMetrics.of(listed_I, num_train_I, num_users) for listed_I in self.listed_TI.cumsum(0)]
        return tuple(
            CutFigures(top=top, **dict(zip(METRICS, mean_M.tolist(), strict=True)), **vars(whole))
            for top, mean_M, whole in zip(self.tops, mean_TM, lists, strict=True)
        )


@dataclass(frozen=True)
class RankedUsers:
    """Each ranked user, and what segments need."""

    user_Q: Index
    num_relevant_Q: Index
    metric_QTM: NDArray[np.float64]
    tops: tuple[int, ...]
    relevant_S: Index
    """Number of relevant pairs in each segment of items."""
    hits_TS: Index
    """Number of them in the lists, cut at each of `tops`."""
    listed_TS: Index
    """Number of places that the items of each segment fill."""


@dataclass(frozen=True)
class _Relevant:
    """The relevant items of B users."""

    is_relevant_BI: NDArray[np.bool_]
    count_B: Index

    @classmethod
    def of(cls, position_N: Index, item_N: Index, seen: tuple[Index, Index], shape: tuple[int, int]) -> _Relevant:
        """From pairs of a position and an item; items of which the model knows the rating cannot be ranked."""
        is_relevant_BI = np.zeros(shape, np.bool_)
        is_relevant_BI[position_N, item_N] = True
        is_relevant_BI[seen] = False
        return cls(is_relevant_BI, np.bincount(position_N[is_relevant_BI[position_N, item_N]], minlength=shape[0]))

    def only(self, wanted_B: NDArray[np.bool_]) -> _Relevant:
        """Some of the users."""
        if wanted_B.all():
            return self
        return _Relevant(self.is_relevant_BI[wanted_B], self.count_B[wanted_B])


@dataclass
class _Pass:
    """One pass over the blocks of ranked users."""

    users: EvaluatedUsers
    lists: Lists
    popular: Lists
    popularity: PopularityLists
    relevant_S: Index
    user_Q: list[Index] = field(default_factory=lambda: [np.empty(0, np.int64)])
    num_relevant_Q: list[Index] = field(default_factory=lambda: [np.empty(0, np.int64)])

    def add(self, user_B: Index, position_N: Index, item_N: Index) -> None:
        """Rank a block of users; `position_N` is the position in `user_B` of the user of each liked item."""
        seen, longest = self.users.seen(user_B), max(self.lists.tops)
        relevant = _Relevant.of(
            position_N, item_N, seen, (len(user_B), len(self.lists.item_segments.segment_R) - 1)
        )
        segment_N = self.lists.item_segments.segment_R[item_N[relevant.is_relevant_BI[position_N, item_N]]]
        self.relevant_S += np.bincount(segment_N, minlength=len(self.relevant_S))
        has_any_B, mine = relevant.count_B > 0, relevant.only(relevant.count_B > 0)
        item_Bn, score_Bn = (
            tensor.cpu().numpy()[has_any_B] for tensor in best_items(self.users.scores(user_B), longest, [seen])
        )
        self.lists.add(item_Bn, ~np.isneginf(score_Bn), mine)
        popular_Bn, is_filled_Bn = self.popularity.best(len(user_B), longest, seen)
        self.popular.add(popular_Bn[has_any_B], is_filled_Bn[has_any_B], mine)
        self.user_Q.append(user_B[has_any_B])
        self.num_relevant_Q.append(mine.count_B)

    def ranked(self) -> RankedUsers:
        """All ranked users."""
        segments = self.lists.item_segments
        listed = [
            np.bincount(segments.segment_R[:-1], listed_I, len(segments)) for listed_I in self.lists.listed_TI
        ]
        return RankedUsers(
            user_Q=np.concatenate(self.user_Q),
            num_relevant_Q=np.concatenate(self.num_relevant_Q),
            metric_QTM=self.lists.metric_QTM(),
            tops=self.lists.tops,
            relevant_S=self.relevant_S,
            hits_TS=self.lists.hits_TS.cumsum(0),
            listed_TS=np.array(listed, np.int64).cumsum(0),
        )


def rank_held_out(
    users: EvaluatedUsers,
    liked: Liked,
    held_out: Iterable[Ratings],
    eligible_U: NDArray[np.bool_],
    settings: EvaluationSettings,
    item_segments: Segments,
) -> tuple[Ranking, RankedUsers]:
    """Metrics of the lists of at most `ranking_users` of the eligible users, drawn by a fixed seed.

    The same users get lists by popularity.
    """
    start, folder = time.perf_counter(), users.model.catalog.folder
    num_train_I = folder.num_train("items")
    lists, popular = (Lists(settings.top, item_segments) for _ in range(2))
    done = _Pass(users, lists, popular, PopularityLists(num_train_I), np.zeros(len(item_segments), np.int64))
    drawn_U = _draw(eligible_U, settings.ranking_users)
    # Long lists need memory beside the scores: items, scores and hits of two rankings.
    step = users_per_block(len(num_train_I) + FLOATS_PER_PLACE * min(max(settings.top), len(num_train_I)))
    for block in _blocks(liked, held_out, drawn_U, step):
        done.add(*block)
    num_users, ranked = int(np.count_nonzero(folder.num_train("users"))), done.ranked()
    ranking = Ranking(
        relevant_from=liked.relevant_from,
        eligible_users=int(eligible_U.sum()),
        users=len(ranked.user_Q),
        cuts=lists.cuts(num_train_I, num_users),
        baselines={"popularity": popular.cuts(num_train_I, num_users)},
        seconds=time.perf_counter() - start,
    )
    return ranking, ranked


def mean_metrics(metric_QTM: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over users: [T, M]; NaN without users."""
    total_TM: NDArray[np.float64] = metric_QTM.sum(0)
    return total_TM / len(metric_QTM) if len(metric_QTM) else np.full(metric_QTM.shape[1:], np.nan)


def _draw(eligible_U: NDArray[np.bool_], max_users: int) -> NDArray[np.bool_]:
    eligible = np.flatnonzero(eligible_U)
    drawn_U = np.zeros_like(eligible_U)
    drawn_U[np.random.default_rng(SAMPLE_SEED).permutation(eligible)[:max_users]] = True
    return drawn_U


def _blocks(
    liked: Liked, held_out: Iterable[Ratings], drawn_U: NDArray[np.bool_], step: int
) -> Iterator[tuple[Index, Index, Index]]:
    """Blocks of drawn users: users, then the position and the item of each of their liked ratings."""
    for ratings in held_out:
        user_N, item_N = liked.pairs(ratings)
        user_N, item_N = user_N[drawn_U[user_N]], item_N[drawn_U[user_N]]
        users = np.unique(user_N)
        for begin in range(0, len(users), step):
            user_B = users[begin : begin + step]
            mine = np.isin(user_N, user_B)
            yield user_B, np.searchsorted(user_B, user_N[mine]), item_N[mine]
