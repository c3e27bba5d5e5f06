"""A model ready to predict and recommend, with raw ids in and out.

    model = recsys_dist.load_model("models/ml1m")
    model.predict(["42", "7"], ["858", "858"])      -> float32 ratings, clipped to the range of the data
    model.recommend(["42"], n=10)                   -> one list per user, items rated in training left out
    model.predict_probabilities("42", ["858", "7"]) -> how probable each rating of the data's grid is, and the grid
    model.fold_in(["858", "2571"], [5, 4]).recommend(10)
    model.similar_items("858")                      -> what is like it

Ids are text exactly as in the data, or whole numbers, which stand for their digits: one, or any sequence of them
from Python, NumPy, pandas, polars or Arrow. What is no id, and a missing one, is a `DataError` naming its place.
Unknown ids are no error: they are predicted from what is known of the other side and of the average.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Literal, overload

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.families.autorec.network.network import OutputLink
from recsys_dist.families.bilinear.factors import Factors, load_factors, on_device, pair_scores
from recsys_dist.families.mf.serving.noise import RatingNoise
from recsys_dist.families.mf.serving.uncertainty import Belief, Uncertainty
from recsys_dist.inference.columns import Values
from recsys_dist.inference.folded_user import FoldedUser, fold_in
from recsys_dist.inference.grid import LARGEST_GRID, RatingGrid, central_interval
from recsys_dist.inference.ids import IdIndex, pair_up
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.order import Order, RankBy
from recsys_dist.inference.recommend import describe, recommend
from recsys_dist.inference.seen import TrainRatings
from recsys_dist.inference.similar import Similar, nearest
from recsys_dist.model_folder.folder import ModelFolder, PosteriorFoldIn, covariances_of

Floats = NDArray[np.float32]


def load_model(path: str, device: str = "cpu", verify: bool = False) -> Model:
    """Load the model folder at `path`, a plain folder or a URL, onto `device` (cpu, cuda, cuda:N).

    With `verify` the hash of every file is checked first, otherwise of the ids and titles alone. Raises
    `CheckpointError` where the folder is not a model or is damaged.
    """
    return Model(ModelFolder.open(str(path), verify), _device(device))


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        is_usable = device.type in {"cpu", "cuda"}
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        is_usable = False
    if not is_usable:
        raise ConfigError(f"device {name!r} is not available; use cpu, cuda or cuda:N")
    return device


class Model:
    """Predicts ratings and recommends items; made by `load_model`."""

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        self.folder = folder
        self.manifest = folder.manifest
        self.device = device
        self.user_ids = IdIndex(folder.ids("users"), "user_ids")
        self.item_ids = IdIndex(folder.ids("items"), "item_ids")
        self.users = load_factors(folder, "users", device)
        self.items = load_factors(folder, "items", device)
        self.train_ratings = TrainRatings(folder)
        rating = self.manifest.rating
        self._link = OutputLink(self.manifest.output_activation, rating.min, rating.max, self.manifest.offset)

    def __repr__(self) -> str:
        sides = f"{len(self.user_ids):,} users, {len(self.item_ids):,} items"
        return f"<Model {self.folder.folder.url!r}: {self.manifest.kind}, {sides}, on {self.device}>"

    @property
    def titles(self) -> pa.StringArray:
        """Item titles, null where unknown; position = item index."""
        return self.folder.titles

    @cached_property
    def noise(self) -> RatingNoise:
        """How far ratings lie from their predictions. Raises `ConfigError` where the model does not know."""
        return RatingNoise(self.folder, self._posterior, self.device)

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """The covariances. Raises `ConfigError` where the model was trained without."""
        if not self.knows_uncertainty:
            raise self._unsure()
        return Uncertainty(self.folder, self.noise, self.users.width, self.device)

    @property
    def knows_uncertainty(self) -> bool:
        """Whether predictions come with a standard deviation."""
        return self.folder.has_table(covariances_of("users"))

    @property
    def _posterior(self) -> PosteriorFoldIn:
        spec = self.manifest.fold_in
        if not isinstance(spec, PosteriorFoldIn):
            raise self._unsure()
        return spec

    def _unsure(self) -> ConfigError:
        return ConfigError(
            f"{self.folder.folder.url} does not know how sure it is; train kind: mf with posterior: "
            "full or diagonal"
        )

    @cached_property
    def grid(self) -> RatingGrid | None:
        """The distinct train ratings; None where they are too many. Reads all train ratings once."""
        return RatingGrid.read(self.folder)

    @overload
    def predict(self, user_ids: Values, item_ids: Values, return_std: Literal[False] = False) -> Floats: ...

    @overload
    def predict(self, user_ids: Values, item_ids: Values, return_std: Literal[True]) -> tuple[Floats, Floats]: ...

    def predict(
        self, user_ids: Values, item_ids: Values, return_std: bool = False
    ) -> Floats | tuple[Floats, Floats]:
        """Predicted ratings of pairs of raw ids: [N]; a single id pairs with every id of the other side.

        With `return_std` also the standard deviation of each rating around its prediction, the noise of ratings
        included.
        """
        user_N, item_N = pair_up(self.user_ids.find(user_ids), self.item_ids.find(item_ids))
        rating_N = self.predict_indices(user_N, item_N)
        return (rating_N, self.std_indices(user_N, item_N)) if return_std else rating_N

    def predict_interval(self, user_ids: Values, item_ids: Values, coverage: float = 0.9) -> tuple[Floats, Floats]:
        """Bounds that hold the rating with probability `coverage`, clipped to the range of the data: two [N].

        Raises `ConfigError` where `coverage` is not between 0 and 1.
        """
        user_N, item_N = pair_up(self.user_ids.find(user_ids), self.item_ids.find(item_ids))
        mean_N, std_N = self.predict_indices(user_N, item_N, clip=False), self.std_indices(user_N, item_N)
        return central_interval(mean_N, std_N, coverage, self.manifest.rating.min, self.manifest.rating.max)

    def predict_probabilities(self, user_ids: Values, item_ids: Values) -> tuple[Floats, Floats]:
        """How probable each rating of the data's grid is: [N, C], rows sum to 1; and the grid itself: [C].

        Each grid value has the mass of its cell, half way to its neighbours. Raises `ConfigError` where the train
        ratings have more than 64 distinct values, or where the model does not know how sure it is.
        """
        user_N, item_N = pair_up(self.user_ids.find(user_ids), self.item_ids.find(item_ids))
        return self.probabilities_of(
            self.predict_indices(user_N, item_N, clip=False), self.std_indices(user_N, item_N)
        )

    def probabilities_of(self, mean_N: Floats, std_N: Floats) -> tuple[Floats, Floats]:
        """The same for predictions that are not clipped, and their standard deviations."""
        grid = self.grid
        if grid is None:
            raise ConfigError(
                f"{self.folder.folder.url} was trained on more than {LARGEST_GRID} distinct ratings, which are no "
                f"classes; use predict_interval"
            )
        return grid.probabilities(mean_N, std_N), grid.values.copy()

    def predict_indices(self, user_N: NDArray[np.int64], item_N: NDArray[np.int64], clip: bool = True) -> Floats:
        """The same by dense index; the number of users (or items) is the index of the unknown one."""
        return self.predict_from(self.users, user_N, item_N, clip)

    def predict_from(
        self, users: Factors, user_N: NDArray[np.int64], item_N: NDArray[np.int64], clip: bool = True
    ) -> Floats:
        """The same for rows of any table of users, such as folded-in ones."""
        score_N = pair_scores(users, self.items, on_device(user_N, self.device), on_device(item_N, self.device))
        rating_N = self._link.to_ratings(score_N + self.manifest.offset)
        if clip:
            rating_N = rating_N.clamp(self.manifest.rating.min, self.manifest.rating.max)
        ratings: Floats = rating_N.cpu().numpy()
        return ratings

    def std_indices(self, user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> Floats:
        """Standard deviations by dense index: [N]. Raises `ConfigError` where the model does not know them."""
        return self.std_from(partial(self.uncertainty.belief, "users", self.users), user_N, item_N)

    def std_from(
        self,
        user_belief: Callable[[torch.Tensor], Belief],
        user_N: NDArray[np.int64],
        item_N: NDArray[np.int64],
    ) -> Floats:
        """The same for users whose rows `user_belief` gives, such as folded-in ones."""
        std_N, step = np.empty(len(user_N), np.float32), self.uncertainty.pairs_at_once()
        for start in range(0, len(user_N), step):
            part = slice(start, start + step)
            # What a row adds is formed once, however many pairs it has.
            user_R, user_row_N = np.unique(user_N[part], return_inverse=True)
            item_R, item_row_N = np.unique(item_N[part], return_inverse=True)
            variance_N = self.uncertainty.variance(
                user_belief(on_device(user_R, self.device)),
                self.item_belief(item_R),
                on_device(user_row_N, self.device),
                on_device(item_row_N, self.device),
            )
            std_N[part] = variance_N.sqrt().cpu().numpy()
        return std_N

    def item_belief(self, item_R: NDArray[np.int64]) -> Belief:
        """Posterior of R items."""
        return self.uncertainty.belief("items", self.items, on_device(item_R, self.device))

    def recommend(
        self,
        user_ids: Values,
        n: int = 10,
        include_seen: bool = False,
        also_seen: str | None = None,
        rank_by: RankBy = "mean",
        confidence: float = 0.9,
        seed: int = 0,
    ) -> list[Recommendations]:
        """The n best items for each user, those rated in training left out.

        `also_seen` names a prepared dataset: what these users rated in any of its splits is left out too. A list
        is shorter than n where fewer items are unseen. `rank_by` is `mean` (the predicted rating), `lower` (the
        bound that the expected rating exceeds with probability `confidence`) or `thompson` (one draw from the
        posteriors of the user and of all items, always the same for a `seed`). Raises `ConfigError` where n is
        no whole number from 1 on, where `include_seen` and `also_seen` contradict each other, or where the order
        needs an uncertainty that the model does not know.
        """
        if include_seen and also_seen is not None:
            raise ConfigError("include_seen and also_seen contradict each other; give one of them")
        order = Order(rank_by, confidence, seed)
        return recommend(self, self.user_ids.texts(user_ids), n, include_seen, also_seen, order)

    def fold_in(self, item_ids: Values, ratings: Values, user_id: str | int | None = None) -> FoldedUser:
        """A user whom training never saw, from ratings alone. Items that the model does not know are passed over.

        With `user_id`, the ratings are added to those that this user gave in training; a new rating of an item
        replaces the old one. Matrix factorization: the posterior given the ratings. User-AutoRec: encoded,
        and drawn to the average user where the ratings are fewer than it has learnt from.
        Item-AutoRec: a new row of the decoder by ridge regression. Of several ratings of one item the last counts.
        Raises `DataError` for ratings outside the range of the data and for an unknown `user_id`.
        """
        return fold_in(self, item_ids, ratings, user_id)

    def similar_items(self, item_id: str | int, n: int = 10) -> Similar:
        """The n items most like one by the cosine of their factors: ids, titles, cosines, best first.

        Those of an AutoRec are taken less the average.
        Items without a train rating are left out. Raises `DataError` where the item is unknown or is one of them.
        """
        row = self._known_row("item", self.item_ids, self.items, item_id)
        row_n, cosine_n = nearest(self.items, row, n, self._compares_less_average)
        return Similar(*describe(self, row_n), cosine_n)

    def similar_users(self, user_id: str | int, n: int = 10) -> Similar:
        """The n users most like one, see `similar_items`; they have no titles."""
        row = self._known_row("user", self.user_ids, self.users, user_id)
        row_n, cosine_n = nearest(self.users, row, n, self._compares_less_average)
        return Similar(self.user_ids.take(row_n), [None] * len(row_n), cosine_n)

    @property
    def _compares_less_average(self) -> bool:
        """See `nearest`."""
        return self.manifest.kind == "autorec"

    def _known_row(self, what: str, ids: IdIndex, factors: Factors, raw_id: str | int) -> int:
        """The dense index of one raw id. Raises `DataError` where nothing is known of it."""
        (text,) = ids.texts([raw_id])
        row = int(ids.find([text])[0])
        if row == len(ids):
            raise DataError(
                f"unknown {what} {text!r}: {self.folder.folder.url} was trained on {len(ids):,} other "
                f"{what}s; ids are compared exactly as they stand in the data"
            )
        if factors.is_cold_R[row]:
            raise DataError(f"{what} {text!r} has no train rating: nothing is known that others could be like")
        return row

    def require_users(self, user_ids: Values) -> None:
        """Raise `DataError` naming the ids that the model does not know."""
        wanted = self.user_ids.texts(user_ids)
        unknown = [
            text
            for text, index in zip(wanted, self.user_ids.find(wanted), strict=True)
            if index == len(self.user_ids)
        ]
        if unknown:
            raise DataError(
                f"unknown user {', '.join(map(repr, unknown))}: {self.folder.folder.url} was trained on "
                f"{len(self.user_ids):,} other users; ids are compared exactly as they stand in the data"
            )
