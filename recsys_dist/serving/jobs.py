"""What requests ask of the model, and their answers as JSON; jobs of one kind are answered by one call.

B jobs, N pairs or users of all of them
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from recsys_dist.api.model import Model
from recsys_dist.dataset.manifest import Side
from recsys_dist.errors import DataError
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.similar import Similar
from recsys_dist.serving.bodies import FoldInBody, Id, ListWish, PredictBody, RecommendBody
from recsys_dist.serving.errors import UnknownIdError

PAIRS_PER_UNIT = 100
"""Pairs whose prediction takes about as long as the list of one user."""
Outcome = bytes | Exception


class Job(ABC):
    """The work of one request."""

    @property
    def cost(self) -> int:
        """In lists of one user, roughly."""
        return 1

    @property
    def key(self) -> Hashable:
        """Jobs with equal keys are answered together."""
        return id(self)

    @abstractmethod
    def answer_together(self, model: Model, jobs: Sequence[Any]) -> list[bytes]:
        """Answers of jobs with this key, as JSON: [B]"""


def answer_jobs(model: Model, jobs: Sequence[Job]) -> list[Outcome]:
    """The answer of each job, or the error that it ends in: [B]"""
    groups: dict[Hashable, list[int]] = {}
    for place, job in enumerate(jobs):
        groups.setdefault(job.key, []).append(place)
    outcomes: dict[int, Outcome] = {}
    for places in groups.values():
        outcomes.update(zip(places, _answer_group(model, [jobs[place] for place in places]), strict=True))
    return [outcomes[place] for place in range(len(jobs))]


def _answer_group(model: Model, jobs: Sequence[Job]) -> Sequence[Outcome]:
    try:
        return jobs[0].answer_together(model, jobs)
    except Exception as error:
        # One request must not fail because of another one.
        return [error] if len(jobs) == 1 else [_answer_group(model, [job])[0] for job in jobs]


@dataclass(frozen=True)
class PredictJob(Job):
    """Predict the ratings of pairs, with their standard deviations if the model knows them."""

    body: PredictBody

    @property
    def cost(self) -> int:
        """Grows with the pairs."""
        return 1 + len(self.body.pairs) // PAIRS_PER_UNIT

    @property
    def key(self) -> Hashable:
        """All predictions are made together."""
        return PredictJob

    def answer_together(self, model: Model, jobs: Sequence[PredictJob]) -> list[bytes]:
        """One call of `Model.predict` for the pairs of all jobs."""
        pairs = [pair for job in jobs for pair in job.body.pairs]
        users, items = [pair.user_id for pair in pairs], [pair.item_id for pair in pairs]
        if model.knows_uncertainty:
            rating_N, std_N = model.predict(users, items, return_std=True)
            stds: Iterable[float | None] = std_N.tolist()
        else:
            rating_N, stds = model.predict(users, items), [None] * len(pairs)
        columns = zip(map(str, users), map(str, items), rating_N.tolist(), stds, strict=True)
        rows = (
            {
                "user_id": user,
                "item_id": item,
                "rating": round(rating, 4),
                "std": None if std is None else round(std, 4),
            }
            for user, item, rating, std in columns
        )
        return [_json({"predictions": list(islice(rows, len(job.body.pairs)))}) for job in jobs]


@dataclass(frozen=True)
class RecommendJob(Job):
    """List the best items of known or unknown users."""

    body: RecommendBody

    @property
    def cost(self) -> int:
        """One for each user."""
        return len(self.body.user_ids)

    @property
    def key(self) -> Hashable:
        """Lists of the same kind are made together."""
        wish = self.body
        ids = (None if one is None else tuple(map(str, one)) for one in (wish.items, wish.exclude))
        return RecommendJob, wish.n, wish.include_seen, wish.rank_by, wish.confidence, wish.seed, *ids

    def answer_together(self, model: Model, jobs: Sequence[RecommendJob]) -> list[bytes]:
        """One call of `Model.recommend` for the users of all jobs."""
        wish = self.body
        _require_items(model, wish)
        users = [user for job in jobs for user in job.body.user_ids]
        lists = iter(
            model.recommend(
                *(users, wish.n, wish.include_seen, None, wish.rank_by, wish.confidence, wish.seed),
                items=wish.items,
                exclude=wish.exclude,
            )
        )
        return [_json({"lists": list(map(_user_list, islice(lists, job.cost)))}) for job in jobs]


@dataclass(frozen=True)
class FoldInJob(Job):
    """List the best items of a user with ratings that were not in training."""

    body: FoldInBody

    def answer_together(self, model: Model, jobs: Sequence[FoldInJob]) -> list[bytes]:
        """One call of `Model.fold_in` for each job."""
        return [job._answer(model) for job in jobs]

    def _answer(self, model: Model) -> bytes:
        wish = self.body
        _require_items(model, wish)
        if wish.user_id is not None:
            _require_known(model, "users", [wish.user_id])
        item_ids = [one.item_id for one in wish.ratings]
        user = model.fold_in(item_ids, [one.rating for one in wish.ratings], wish.user_id)
        found = user.recommend(
            *(wish.n, wish.include_seen, wish.rank_by, wish.confidence, wish.seed, wish.items, wish.exclude)
        )
        is_unknown_N = model.item_ids.find(item_ids) == len(model.item_ids)
        unknown = [str(item_ids[place]) for place in np.flatnonzero(is_unknown_N).tolist()]
        return _json({"items": _items(found), "unknown_items": list(dict.fromkeys(unknown))})


@dataclass(frozen=True)
class SimilarJob(Job):
    """List the items or users most similar to one that the model must know."""

    side: Side
    raw_id: str
    n: int

    def answer_together(self, model: Model, jobs: Sequence[SimilarJob]) -> list[bytes]:
        """One call of `Model.similar_items` or `Model.similar_users` for each job."""
        return [job._answer(model) for job in jobs]

    def _answer(self, model: Model) -> bytes:
        find: Callable[[str, int], Similar] = model.similar_items if self.side == "items" else model.similar_users
        try:
            found = find(self.raw_id, self.n)
        except DataError as error:
            raise UnknownIdError(str(error)) from None
        rows = zip(found.ids, found.titles, found.similarities.tolist(), strict=True)
        return _json({"similar": [{"id": i, "title": title, "similarity": round(c, 4)} for i, title, c in rows]})


@dataclass(frozen=True)
class FindJob(Job):
    """Find items by their titles."""

    title: str
    n: int

    def answer_together(self, model: Model, jobs: Sequence[FindJob]) -> list[bytes]:
        """One call of `Model.find_items` for each job."""
        return [job._answer(model) for job in jobs]

    def _answer(self, model: Model) -> bytes:
        found = model.find_items(self.title, self.n)
        rows = zip(found.ids, found.titles, strict=True)
        items = [{"item_id": item_id, "title": title} for item_id, title in rows]
        return _json({"items": items, "is_match": found.is_match})


def _require_items(model: Model, wish: ListWish) -> None:
    for ids in (wish.items, wish.exclude):
        _require_known(model, "items", ids or [])


def _require_known(model: Model, side: Side, ids: Sequence[Id]) -> None:
    """Raise `UnknownIdError` naming the ids that the model does not know."""
    try:
        model.catalog.known(side, ids)
    except DataError as error:
        raise UnknownIdError(str(error)) from None


def _user_list(found: Recommendations) -> dict[str, Any]:
    return {"user_id": found.user_id, "items": _items(found)}


def _items(found: Recommendations) -> list[dict[str, Any]]:
    return [row._asdict() for row in found.rows()]


def _json(tree: dict[str, Any]) -> bytes:
    return json.dumps(tree, ensure_ascii=False, allow_nan=False).encode()
