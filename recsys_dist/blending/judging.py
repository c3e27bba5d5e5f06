"""What the weights of a blend are judged by: held-out ratings of a sample of users.

P models, S users, I items, N ratings
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import Split
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.seen import SeenPairs

MOST_USERS, SEED = 5000, 0
"""Most users to judge by, and the seed of their draw."""


@dataclass(frozen=True)
class JudgedUser:
    """One user: the items it has rated in training, and its held-out ratings by item."""

    user: int
    seen_item_N: NDArray[np.int64]
    held_out_item_N: NDArray[np.int64]
    held_out_rating_N: NDArray[np.float32]


@dataclass(frozen=True)
class Judging:
    """Users with held-out ratings."""

    users: Sequence[JudgedUser]
    source: str
    """What the held-out ratings are, for messages."""

    @property
    def description(self) -> str:
        """What is judged by, for messages."""
        return f"{self.source} of {len(self.users):,} users"

    def known_to(self, model: Predictor) -> Any:
        """All judged users in the form of the model's scorer."""
        return model.known(np.array([one.user for one in self.users]))

    @property
    def seen(self) -> SeenPairs:
        """Position of the user and item of each seen rating."""
        position_N = np.repeat(np.arange(len(self.users)), [len(one.seen_item_N) for one in self.users])
        return position_N, np.concatenate([one.seen_item_N for one in self.users])


def judged_users(model: Predictor, dataset: Dataset, split: Split, source: str) -> Judging:
    """A sample of the users with ratings in `split`; `model` is any of those trained on the dataset."""
    return Judging(_sample(_users_of(model, dataset, split), MOST_USERS), source)


def _sample(users: Iterator[JudgedUser], most: int) -> list[JudgedUser]:
    """A fixed draw of at most `most` users (reservoir sampling)."""
    draw, taken = np.random.default_rng(SEED), list[JudgedUser]()
    for number, one in enumerate(users):
        if len(taken) < most:
            taken.append(one)
        elif (place := int(draw.integers(number + 1))) < most:
            taken[place] = one
    return taken


def _users_of(model: Predictor, dataset: Dataset, split: Split) -> Iterator[JudgedUser]:
    for shard in range(len(dataset.shards("users"))):
        held_out = dataset.ratings(split, shard)
        edges = np.flatnonzero(np.diff(held_out.user_index)) + 1
        for part in np.split(np.arange(len(held_out)), edges) if len(held_out) else ():
            user = int(held_out.user_index[part[0]])
            seen_item_N, _ = model.catalog.train_ratings.of_user(user)
            yield JudgedUser(user, seen_item_N, held_out.item_index[part], held_out.rating[part])
