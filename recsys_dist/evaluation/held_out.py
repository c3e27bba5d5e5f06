"""Held-out ratings in the indices of a model; train ratings are refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset, Ratings
from recsys_dist.dataset.manifest import SPLITS, Side, Split
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.evaluation.fold_in import FoldInDraw, FoldInRatings
from recsys_dist.evaluation.settings import EvaluationSettings
from recsys_dist.inference.catalog import Catalog
from recsys_dist.inference.ids import IdIndex
from recsys_dist.model_folder.manifest import WITHOUT_USERS
from recsys_dist.suggestions import did_you_mean

COLUMNS = ("user_index", "item_index", "rating")


class HeldOut:
    """The ratings of one split in the model's indices; an unknown user (item) has index num_users (num_items).

    If the split holds out whole users, the ratings from which they are folded in are apart. Unless it is allowed,
    raises `ConfigError` for the train split, and for a dataset with another split, whose held-out ratings may have
    been trained on; and for a model without users. Raises `DataError` if the split is empty or damaged.
    """

    def __init__(self, catalog: Catalog, dataset: Dataset, settings: EvaluationSettings) -> None:
        self._dataset = dataset
        self._split = _parse_split(settings.split, settings.allow_train)
        self._train_ratings = catalog.train_ratings
        self._num_users = len(catalog.user_ids)
        provenance = catalog.folder.manifest.provenance
        if provenance.split_fingerprint == WITHOUT_USERS:
            raise ConfigError(
                f"{catalog.url} was exported without users, so that no held-out rating can be matched with it; "
                "evaluate the model that it was exported from"
            )
        self.is_trained_on = dataset.digest == provenance.dataset_digest
        """Whether the model was trained on this very dataset."""
        self.is_same_split = (
            self.is_trained_on or dataset.manifest.split.fingerprint == provenance.split_fingerprint
        )
        if not self.is_same_split:
            _require_comparable(dataset, self._split, settings.allow_other_split)
        if not dataset.manifest.num_ratings.get(self._split):
            raise DataError(
                f"{dataset.folder.url} has no {self._split} ratings; prepare it with split.{self._split} above 0"
            )
        dataset.check(file for file in dataset.manifest.files if file.name.startswith(f"ratings/{self._split}/"))
        self._user_of = self._translation("users", catalog.user_ids)
        self._item_of = self._translation("items", catalog.item_ids)
        self._fold_in = None if self.is_train else FoldInDraw.of(dataset)

    @property
    def is_train(self) -> bool:
        """Whether the train split was requested."""
        return self._split == "train"

    def shards(self) -> Iterator[Ratings]:
        """The ratings that count, one user shard after the other."""
        return (counting for counting, _ in self.parts())

    def parts(self) -> Iterator[tuple[Ratings, Ratings]]:
        """For each user shard: the ratings that count, and those of pairs that were trained on.

        In the train split all ratings count.
        """
        for ratings, _ in self._shards():
            user_N, item_N = self._user_of[ratings.user_index], self._item_of[ratings.item_index]
            known_N = np.zeros(len(ratings), np.bool_)
            if not self.is_trained_on and not self.is_train:
                known_N = self._train_ratings.hold(user_N, item_N)
            here = Ratings(user_N, item_N, ratings.rating)
            yield _only(here, ~known_N), _only(here, known_N)

    @property
    def fold_in_share(self) -> float | None:
        """The share of the ratings of held-out users to fold in; None unless the split holds out whole users."""
        return None if self._fold_in is None else self._fold_in.share

    def fold_in_ratings(self) -> FoldInRatings:
        """The ratings from which users are folded in."""
        parts = [folded for _, folded in self._shards()]
        columns = (np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS)
        user_N, item_N, rating_N = columns
        return FoldInRatings.of(Ratings(self._user_of[user_N], self._item_of[item_N], rating_N), self._num_users)

    def _shards(self) -> Iterator[tuple[Ratings, Ratings]]:
        """For each user shard, in the indices of the dataset: the ratings that judge, and those to fold in."""
        for shard in range(len(self._dataset.shards("users"))):
            ratings = self._dataset.ratings(self._split, shard)
            folded_N = np.zeros(len(ratings), np.bool_)
            if self._fold_in is not None:
                folded_N = self._fold_in.is_drawn(ratings)
            yield _only(ratings, ~folded_N), _only(ratings, folded_N)

    def _translation(self, side: Side, ids: IdIndex) -> NDArray[np.int64]:
        """Model index of each dataset index: the same for the dataset of training, otherwise by raw id."""
        if self.is_trained_on:
            return np.arange(self._dataset.num_rows(side))
        return ids.find(self._dataset.ids(side))


def _only(ratings: Ratings, wanted_N: NDArray[np.bool_]) -> Ratings:
    return Ratings(*(getattr(ratings, name)[wanted_N] for name in COLUMNS))


def _require_comparable(dataset: Dataset, split: str, allow_other_split: bool) -> None:
    """Raise `ConfigError` unless a dataset with another split is allowed and can be matched by ids."""
    if not allow_other_split:
        raise ConfigError(
            f"{dataset.folder.url} has other ratings, or another split, than the dataset of training: "
            f"its {split} ratings may have been trained on; evaluate on that dataset, or give "
            "--allow-other-split, which leaves out pairs that the model was trained on"
        )
    if dataset.manifest.holds_out_users:
        raise ConfigError(
            f"{dataset.folder.url} holds out whole users (split.kind: users), which only a model that was trained "
            "on this split can be evaluated on"
        )


def _parse_split(split: str, allow_train: bool) -> Split:
    if allow_train and split != "train":
        raise ConfigError(f"--allow-train goes with --split train, not with {split}")
    if split == "train" and not allow_train:
        raise ConfigError(
            "split 'train' is not held out; use test or valid, or add --allow-train for the error on the "
            "train ratings"
        )
    for name in SPLITS:
        if split == name:
            return name
    raise ConfigError(f"split {split!r} is unknown; use test or valid{did_you_mean(split, SPLITS)}")
