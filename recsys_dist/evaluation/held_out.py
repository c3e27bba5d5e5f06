"""Held-out ratings in the indices of a model; train ratings are refused."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset, Ratings
from recsys_dist.dataset.manifest import SPLITS, Side, Split
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.catalog import Catalog
from recsys_dist.inference.ids import IdIndex


class HeldOut:
    """The ratings of one split in the model's indices; an unknown user (item) has index num_users (num_items).

    Unless it is allowed, raises `ConfigError` for the train split, and for a dataset with another split, whose
    held-out ratings may have been trained on. Raises `DataError` if the split is empty or damaged.
    """

    def __init__(
        self,
        catalog: Catalog,
        dataset: Dataset,
        split: str,
        allow_train: bool = False,
        allow_other_split: bool = False,
    ) -> None:
        self._dataset = dataset
        self._split = _parse_split(split, allow_train)
        self._train_ratings = catalog.train_ratings
        provenance = catalog.folder.manifest.provenance
        self.is_trained_on = dataset.digest == provenance.dataset_digest
        """Whether the model was trained on this very dataset."""
        self.is_same_split = (
            self.is_trained_on or dataset.manifest.split.fingerprint == provenance.split_fingerprint
        )
        if not self.is_same_split and not allow_other_split:
            raise ConfigError(
                f"{dataset.folder.url} has other ratings, or another split, than the dataset of training: "
                f"its {split} ratings may have been trained on; evaluate on that dataset, or give "
                "--allow-other-split, which leaves out pairs that the model was trained on"
            )
        if not dataset.manifest.num_ratings.get(self._split):
            raise DataError(f"{dataset.folder.url} has no {split} ratings; prepare it with split.{split} above 0")
        dataset.check(file for file in dataset.manifest.files if file.name.startswith(f"ratings/{split}/"))
        self._user_of = self._translation("users", catalog.user_ids)
        self._item_of = self._translation("items", catalog.item_ids)

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
        for shard in range(len(self._dataset.shards("users"))):
            ratings = self._dataset.ratings(self._split, shard)
            user_N, item_N = self._user_of[ratings.user_index], self._item_of[ratings.item_index]
            known_N = np.zeros(len(ratings), np.bool_)
            if not self.is_trained_on and not self.is_train:
                known_N = self._train_ratings.hold(user_N, item_N)
            counting, known = (Ratings(user_N[m], item_N[m], ratings.rating[m]) for m in (~known_N, known_N))
            yield counting, known

    def _translation(self, side: Side, ids: IdIndex) -> NDArray[np.int64]:
        """Model index of each dataset index: the same for the dataset of training, otherwise by raw id."""
        if self.is_trained_on:
            return np.arange(self._dataset.num_rows(side))
        return ids.find(self._dataset.ids(side))


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
    raise ConfigError(f"split {split!r} is unknown; use test or valid")
