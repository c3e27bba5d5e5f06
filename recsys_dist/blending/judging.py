"""What the weights of a blend are judged by: validation ratings, or withheld train ratings of some users.

Without a validation split, a fifth of the train ratings of a sample of users is withheld, and each model folds
these users in from the rest. The models have learnt from the withheld ratings too, but all of them have, and a
model learns little about an item from one of its ratings. Test ratings are never read.

P models, S users, I items, N ratings
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import DataError
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.seen import SeenPairs
from recsys_dist.protocols.scorer import on_device

LEAST_RATINGS = 500
"""Validation ratings that suffice to judge by."""
WITHHELD_SHARE = 0.2
MOST_USERS, MOST_SCORES = 2000, 1 << 26
"""Most users to judge lists by, and most scores held for them, of one model."""
SEED = 0


@dataclass(frozen=True)
class JudgedUser:
    """One user: what the models may know, and the ratings to predict, by item index in ascending order."""

    user: int
    seen_item_N: NDArray[np.int64]
    seen_rating_N: NDArray[np.float32]
    hidden_item_N: NDArray[np.int64]
    hidden_rating_N: NDArray[np.float32]


@dataclass(frozen=True)
class Judging:
    """Users with hidden ratings. `is_folded_in`: models are given the seen ratings alone."""

    users: Sequence[JudgedUser]
    is_folded_in: bool
    source: str
    """What the hidden ratings are, for messages."""

    @property
    def description(self) -> str:
        """What is judged by, for messages."""
        return f"{self.source} of {len(self.users):,} users"

    def known_to(self, model: Predictor) -> list[Any]:
        """Each judged user in the form of the model's scorer."""
        if not self.is_folded_in:
            return [model.known(np.array([one.user])) for one in self.users]
        return [
            model.scorer.fold_in(
                on_device(one.seen_item_N, model.device),
                torch.from_numpy(one.seen_rating_N).to(model.device),
                is_new=True,
            )
            for one in self.users
        ]

    @property
    def seen(self) -> SeenPairs:
        """Position of the user and item of each seen rating."""
        position_N = np.repeat(np.arange(len(self.users)), [len(one.seen_item_N) for one in self.users])
        return position_N, np.concatenate([one.seen_item_N for one in self.users])


def judged_users(model: Predictor, dataset: Dataset) -> Judging:
    """A sample of users of the dataset that all models were trained on; `model` is any of them.

    Raises `DataError` if too few ratings can be withheld.
    """
    most = min(MOST_USERS, max(1, MOST_SCORES // model.catalog.num_items))
    if dataset.manifest.num_ratings.get("valid", 0) >= LEAST_RATINGS:
        users = _sample(_by_valid(model, dataset), most)
        return Judging(users, is_folded_in=False, source="validation ratings")
    draw = np.random.default_rng(SEED)
    users = [_withheld(one, draw) for one in islice(_in_random_order(model), most)]
    if sum(len(one.hidden_item_N) for one in users) < LEAST_RATINGS:
        raise DataError(
            f"{dataset.folder.url} has too few ratings to fit weights by; give them as --weights 1,0.5"
        )
    return Judging(users, is_folded_in=True, source="withheld train ratings")


def _sample(users: Iterator[JudgedUser], most: int) -> list[JudgedUser]:
    """A fixed draw of at most `most` users (reservoir sampling)."""
    draw, taken = np.random.default_rng(SEED), list[JudgedUser]()
    for number, one in enumerate(users):
        if len(taken) < most:
            taken.append(one)
        elif (place := int(draw.integers(number + 1))) < most:
            taken[place] = one
    return taken


def _by_valid(model: Predictor, dataset: Dataset) -> Iterator[JudgedUser]:
    for shard in range(len(dataset.shards("users"))):
        valid = dataset.ratings("valid", shard)
        edges = np.flatnonzero(np.diff(valid.user_index)) + 1
        for part in np.split(np.arange(len(valid)), edges) if len(valid) else ():
            user = int(valid.user_index[part[0]])
            items, ratings = model.catalog.train_ratings.of_user(user)
            yield JudgedUser(user, items, ratings, valid.item_index[part], valid.rating[part])


def _in_random_order(model: Predictor) -> Iterator[JudgedUser]:
    """The users with enough train ratings to withhold one, in a fixed random order, nothing withheld yet."""
    none = np.empty(0, np.int64), np.empty(0, np.float32)
    enough = np.flatnonzero(model.catalog.folder.num_train("users") * WITHHELD_SHARE >= 1)
    for user in np.random.default_rng(SEED).permutation(enough).tolist():
        items, ratings = model.catalog.train_ratings.of_user(user)
        yield JudgedUser(user, items, ratings, *none)


def _withheld(one: JudgedUser, draw: np.random.Generator) -> JudgedUser:
    """Withhold a fifth of the ratings, drawn at random."""
    num = len(one.seen_item_N)
    is_hidden_N = np.zeros(num, np.bool_)
    is_hidden_N[draw.choice(num, int(num * WITHHELD_SHARE), replace=False)] = True
    items, ratings = one.seen_item_N, one.seen_rating_N
    return JudgedUser(
        one.user, items[~is_hidden_N], ratings[~is_hidden_N], items[is_hidden_N], ratings[is_hidden_N]
    )
