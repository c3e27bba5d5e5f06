"""A loaded model: predictions and recommendations, with raw ids in and out.

    model = recsys_dist.load_model("models/ml1m")
    model.predict(["42", "7"], ["858", "858"])      -> float32 ratings, clipped to the range of the data
    model.recommend(["42"], n=10)                   -> one list per user, items rated in training left out
    model.predict_probabilities("42", ["858", "7"]) -> probabilities of the ratings on the data's grid; the grid
    model.fold_in(["858", "2571"], [5, 4]).recommend(10)
    model.similar_items("858")                      -> the most similar items
    model.find_items("toy story")                   -> ids and titles of the items that match

Ids are text exactly as in the data, or whole numbers, which stand for their digits: a single one, or any sequence
from Python, NumPy, pandas, polars or Arrow. An invalid or missing id is a `DataError` that names its position.
Unknown ids are no error: their ratings are predicted from the other side and from the average.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import Side
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.evaluation.evaluate import measure
from recsys_dist.evaluation.per_user import check_per_user_file, write_per_user
from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.evaluation.settings import RANKING_USERS, TOP, EvaluationSettings, as_tops
from recsys_dist.export.export import Exported, export
from recsys_dist.inference.columns import Values, as_ratings
from recsys_dist.inference.criterion import RankBy, RankingCriterion
from recsys_dist.inference.folded_user import FoldedUser
from recsys_dist.inference.ids import IdIndex, pair_up, require_same_length
from recsys_dist.inference.items.choice import choice_of
from recsys_dist.inference.items.search import ItemSearch
from recsys_dist.inference.items.titles import FoundItems
from recsys_dist.inference.lists import RecommendationLists
from recsys_dist.inference.loading import load_predictor
from recsys_dist.inference.predictor import Pairs, Predictor
from recsys_dist.inference.recommend import recommend
from recsys_dist.inference.similar import Similar, nearest
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.manifest import ModelManifest
from recsys_dist.protocols.family import ModelFamily
from recsys_dist.protocols.registry import add

Floats = NDArray[np.float32]


def load_model(
    path: str, device: str = "cpu", verify: bool = False, families: Iterable[ModelFamily[Any]] = ()
) -> Model:
    """Load the model folder at `path`, a plain folder or a URL, onto `device` (cpu, cuda, cuda:N).

    With `verify` the hash of every file is checked first, otherwise only those of ids and titles. `families` are
    your own model families. Raises `CheckpointError` if the folder is not a model or is damaged, `ConfigError` if
    the family of the model is unknown.
    """
    for family in families:
        add(family)
    return Model(load_predictor(path, device, verify))


class Model:
    """Predicts ratings and recommends items; made by `load_model`."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.catalog = predictor, predictor.catalog

    def __repr__(self) -> str:
        return repr(self.predictor)

    @property
    def folder(self) -> ModelFolder:
        """The model folder."""
        return self.catalog.folder

    @property
    def manifest(self) -> ModelManifest:
        """Kind, configuration and provenance of the model."""
        return self.folder.manifest

    @property
    def user_ids(self) -> IdIndex:
        """Raw ids of all users; position = dense index."""
        return self.catalog.user_ids

    @property
    def item_ids(self) -> IdIndex:
        """Raw ids of all items; position = dense index."""
        return self.catalog.item_ids

    @property
    def titles(self) -> pa.StringArray:
        """Item titles, null where unknown; position = item index."""
        return self.catalog.titles

    @property
    def knows_uncertainty(self) -> bool:
        """Whether predictions come with a standard deviation."""
        return self.predictor.scorer.uncertainty is not None

    @overload
    def predict(self, user_ids: Values, item_ids: Values, return_std: Literal[False] = False) -> Floats: ...

    @overload
    def predict(self, user_ids: Values, item_ids: Values, return_std: Literal[True]) -> tuple[Floats, Floats]: ...

    def predict(
        self, user_ids: Values, item_ids: Values, return_std: bool = False
    ) -> Floats | tuple[Floats, Floats]:
        """Predicted ratings of pairs of raw ids: [N]; a single id pairs with every id of the other side.

        With `return_std`, also the standard deviation of each rating around its prediction, rating noise included.
        """
        self.predictor.require_ratings()
        pairs = self._pairs(user_ids, item_ids)
        rating_N = self.predictor.ratings(*pairs)
        return (rating_N, self.predictor.stds(*pairs)) if return_std else rating_N

    def predict_interval(self, user_ids: Values, item_ids: Values, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Bounds that contain the rating with probability `coverage`, clipped to the range of the data: two [N].

        Raises `ConfigError` if `coverage` is not between 0 and 1.
        """
        return self.predictor.interval(*self._pairs(user_ids, item_ids), coverage)

    def predict_probabilities(self, user_ids: Values, item_ids: Values) -> tuple[Floats, Floats]:
        """Probability of each rating on the data's grid: [N, C], rows sum to 1; and the grid itself: [C].

        Each grid value has the mass of its cell, which extends half way to its neighbours. Raises `ConfigError` if
        the train ratings have more than 64 distinct values, or if the model has no uncertainty.
        """
        return self.predictor.probabilities(*self._pairs(user_ids, item_ids))

    def predict_indices(self, user_N: NDArray[np.int64], item_N: NDArray[np.int64], clip: bool = True) -> Floats:
        """Predicted ratings by dense index: [N]; index num_users (num_items) is an unknown user (item)."""
        self.predictor.require_ratings()
        return self.predictor.ratings(*self.predictor.by_index(user_N, item_N), clip)

    def std_indices(self, user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> Floats:
        """Standard deviations by dense index: [N]. Raises `ConfigError` if the model has no uncertainty."""
        return self.predictor.stds(*self.predictor.by_index(user_N, item_N))

    def _pairs(self, user_ids: Values, item_ids: Values) -> Pairs:
        return self.predictor.by_index(*pair_up(self.user_ids.find(user_ids), self.item_ids.find(item_ids)))

    def recommend(
        self,
        user_ids: Values,
        n: int = 10,
        include_seen: bool = False,
        also_seen: str | None = None,
        rank_by: RankBy = "mean",
        confidence: float = 0.9,
        seed: int = 0,
        items: Values | Mapping[Any, Values] | None = None,
        exclude: Values | None = None,
    ) -> RecommendationLists:
        """The n best items for each user, without items rated in training.

        `also_seen` names a prepared dataset: items that these users rated in any of its splits are left out too. A
        list is shorter than n if fewer items are unseen. `rank_by` is `mean` (the predicted rating, or the score
        of a model that ranks), `lower` (the bound that the expected rating exceeds with probability `confidence`)
        or `thompson` (one draw from the posteriors of the user and of all items, fixed by `seed`). If `items` is
        given, lists contain only these candidates: ids for all users alike, or a mapping from each user id to the
        ids for this user. No list contains an item to `exclude`.

        Raises `DataError` for candidates and exclusions that the model does not know. Raises `ConfigError` if n is
        not a whole number, 1 or more, if there are no candidates, if `include_seen` and `also_seen` contradict
        each other, or if the criterion needs an uncertainty that the model lacks.
        """
        if include_seen and also_seen is not None:
            raise ConfigError("include_seen and also_seen contradict each other; give one of them")
        order, texts = RankingCriterion(rank_by, confidence, seed), self.user_ids.texts(user_ids)
        choice = choice_of(self.catalog, texts, items, exclude)
        return recommend(self.predictor, texts, n, include_seen, also_seen, order, choice)

    def evaluate(
        self,
        dataset: Dataset | str,
        split: str = "test",
        relevant_from: float | None = None,
        ranking_users: int = RANKING_USERS,
        allow_train: bool = False,
        allow_other_split: bool = False,
        top: int | Sequence[int] = TOP,
        per_user: str | PathLike[str] | None = None,
    ) -> EvaluationReport:
        """Errors, ranking and calibration on the held-out ratings of a dataset, beside baselines.

        Ratings of at least `relevant_from` (None: the train mean; all interactions of data without ratings) are
        relevant in the ranking, which covers at most `ranking_users` users, in lists cut at each of `top`.
        `per_user` names a .parquet file for the figures of each user. Raises `DataError` if the split is empty or
        damaged, `ConfigError` for a split that is refused and for values that mean nothing.
        """
        file = None if per_user is None else Path(per_user)
        if file is not None:
            check_per_user_file(file)
        tops = as_tops(top)
        settings = EvaluationSettings(split, relevant_from, ranking_users, tops, allow_train, allow_other_split)
        opened = dataset if isinstance(dataset, Dataset) else Dataset.open(dataset)
        evaluation = measure(self.predictor, opened, settings)
        if file is not None:
            write_per_user([evaluation], file)
        return evaluation.report

    def export(
        self,
        path: str | PathLike[str],
        to: str = "parquet",
        evaluation: str | PathLike[str] | None = None,
        without_users: bool = False,
    ) -> Exported:
        """Write the model to the new folder `path` as files that other programs read; a URL may be given too.

        `to` is `parquet` (factors, or weights between items), `faiss` or `hnsw` (an index that answers as
        `recommend`), `onnx` (encoder and decoder of a user-AutoRec) or `hub-folder` (the model with a model card,
        to which `evaluation` gives the figures of a report.json; `without_users` leaves out all users and ratings,
        and the copy folds everyone in). A local export to the same target is replaced.
        Raises `ConfigError` if the model cannot be exported to the target or a package is not installed, and
        `CheckpointError` if there is something else at `path`.
        """
        report = None if evaluation is None else Path(evaluation)
        return export(self.predictor, str(path), to, report, without_users)

    def fold_in(self, item_ids: Values, ratings: Values, user_id: str | int | None = None) -> FoldedUser:
        """Fold in a user from ratings that were not in training. Items unknown to the model are skipped.

        With `user_id`, the ratings are added to this user's train ratings; a new rating of an item replaces the
        old one. Of several ratings of one item the last counts. Matrix factorization: the posterior given the
        ratings. User-AutoRec: the encoded ratings, shrunk towards the average user if there are fewer than
        training has learnt from. Item-AutoRec: a new row of the decoder by ridge regression. Raises `DataError`
        for ratings outside the range of the data and for an unknown `user_id`.
        """
        catalog, device = self.catalog, self.predictor.device
        rating_N = as_ratings(ratings, catalog.rating.min, catalog.rating.max)
        item_N = catalog.item_ids.find(item_ids)
        require_same_length(item_ids=item_N, ratings=rating_N)
        is_known_N = item_N < len(catalog.item_ids)
        item_N, rating_N = item_N[is_known_N], rating_N[is_known_N]
        # A known user with a train rating is not new to the model, however few there are.
        user, is_new = len(catalog.user_ids), True
        if user_id is not None:
            self.require_users([user_id])
            user = int(catalog.user_ids.find([user_id])[0])
            is_new = bool(catalog.is_cold("users")[user])
            own_item_M, own_rating_M = catalog.train_ratings.of_user(user)
            item_N, rating_N = np.concatenate([own_item_M, item_N]), np.concatenate([own_rating_M, rating_N])
        # Sorted by item, so that sums do not depend on the order of the arguments; reversed first, so that the
        # last rating of an item counts.
        item_N, place_N = np.unique(item_N[::-1], return_index=True)
        rating = torch.from_numpy(rating_N[::-1][place_N]).to(device)
        users = self.predictor.scorer.fold_in(torch.from_numpy(item_N).to(device), rating, is_new)
        return FoldedUser(self.predictor, users, item_N, user)

    def find_items(self, title: str, n: int = 10) -> FoundItems:
        """The n items whose titles match best: ids, titles, best first; equal matches by number of train ratings.

        Case, accents and punctuation do not count. A whole title comes before words of a title, these before parts
        of words. If no title matches, the most similar ones, with `is_match` false. Raises `DataError` if the
        model has no titles.
        """
        return self._search.find(title, n)

    def item_by_title(self, title: str) -> str:
        """The id of the item that the title means: the only one that matches best, see `find_items`.

        An id stands for itself. Raises `DataError` naming up to ten items if several match best or none matches.
        """
        return self._search.one(title)

    @cached_property
    def _search(self) -> ItemSearch:
        return ItemSearch(self.catalog)

    def similar_items(self, item_id: str | int, n: int = 10) -> Similar:
        """The n items most similar to one by the cosine of their factors: ids, titles, similarities, best first.

        The cosine of an item with n train ratings is multiplied by n / (n + 20), see inference/similar.py.

        AutoRec subtracts the average from its factors first. Items without a train rating are left out.
        Raises `DataError` if the item is unknown or has no train rating.
        """
        row_n, similarity_n = self._nearest("items", "item", self.item_ids, item_id, n)
        return Similar(*self.catalog.describe(row_n), similarity_n)

    def similar_users(self, user_id: str | int, n: int = 10) -> Similar:
        """The n users most similar to one, see `similar_items`; users have no titles."""
        row_n, similarity_n = self._nearest("users", "user", self.user_ids, user_id, n)
        return Similar(self.user_ids.take(row_n), [None] * len(row_n), similarity_n)

    def _nearest(
        self, side: Side, what: str, ids: IdIndex, raw_id: str | int, n: int
    ) -> tuple[NDArray[np.int64], Floats]:
        vector_RK, is_cold_R = self.predictor.scorer.vectors(side), self.catalog.is_cold(side)
        row = self._known_row(side, ids, is_cold_R, raw_id)
        if vector_RK is None:
            raise ConfigError(
                f"{self.catalog.url} has no factors by which one {what} could be compared with another"
            )
        return nearest(vector_RK, self.folder.num_train(side), row, n)

    def _known_row(self, side: Side, ids: IdIndex, is_cold_R: NDArray[np.bool_], raw_id: str | int) -> int:
        """The dense index of one raw id. Raises `DataError` if it is unknown or has no train rating."""
        (text,) = ids.texts([raw_id])
        (row,) = self.catalog.known(side, [text]).tolist()
        if is_cold_R[row]:
            raise DataError(
                f"{side[:-1]} {text!r} has no train rating, so there is nothing to compare others with"
            )
        return int(row)

    def require_users(self, user_ids: Values) -> None:
        """Raise `DataError` naming the ids that the model does not know."""
        self.catalog.known("users", user_ids)
