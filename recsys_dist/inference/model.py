"""A model ready to predict and recommend, with raw ids in and out.

    model = recsys_dist.load_model("models/ml1m")
    model.predict(["42", "7"], ["858", "858"])      -> float32 ratings, clipped to the range of the data
    model.recommend(["42"], n=10)                   -> one list per user, items rated in training left out
    model.fold_in(["858", "2571"], [5, 4]).recommend(10)

Unknown ids are no error: they are predicted from what is known of the other side and of the average.
"""

from __future__ import annotations

from functools import cached_property
from statistics import NormalDist
from typing import Literal, overload

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import ArrayLike, NDArray

from recsys_dist.checkpoint.model_folder import ModelFolder, PosteriorFoldIn, covariances_of
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.factors import Factors, load_factors, on_device, pair_scores
from recsys_dist.inference.folded_user import FoldedUser, fold_in
from recsys_dist.inference.ids import IdIndex, pair_up, texts
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.recommend import recommend
from recsys_dist.inference.seen import TrainRatings
from recsys_dist.inference.uncertainty import Belief, Uncertainty
from recsys_dist.models.autorec import OutputLink

PAIRS_AT_ONCE = 1 << 18
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
    except (RuntimeError, AssertionError, NotImplementedError):
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
        self.user_ids = IdIndex(folder.ids("users"))
        self.item_ids = IdIndex(folder.ids("items"))
        self.users = load_factors(folder, "users", device)
        self.items = load_factors(folder, "items", device)
        self.train_ratings = TrainRatings(folder)
        rating = self.manifest.rating
        self._link = OutputLink(self.manifest.output_activation, rating.min, rating.max, self.manifest.offset)

    @property
    def titles(self) -> pa.StringArray:
        """Item titles, null where unknown; position = item index."""
        return self.folder.titles

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """The covariances. Raises `ConfigError` where the model was trained without."""
        spec = self.manifest.fold_in
        if not isinstance(spec, PosteriorFoldIn) or not self.knows_uncertainty:
            raise ConfigError(
                f"{self.folder.folder.url} does not know how sure it is; train kind: mf with posterior: full"
            )
        return Uncertainty(self.folder, spec)

    @property
    def knows_uncertainty(self) -> bool:
        """Whether predictions come with a standard deviation."""
        return self.folder.has_table(covariances_of("users"))

    @overload
    def predict(self, user_ids: ArrayLike, item_ids: ArrayLike, return_std: Literal[False] = False) -> Floats: ...

    @overload
    def predict(
        self, user_ids: ArrayLike, item_ids: ArrayLike, return_std: Literal[True]
    ) -> tuple[Floats, Floats]: ...

    def predict(
        self, user_ids: ArrayLike, item_ids: ArrayLike, return_std: bool = False
    ) -> Floats | tuple[Floats, Floats]:
        """Predicted ratings of pairs of raw ids: [N]; a single id pairs with every id of the other side.

        With `return_std` also the standard deviation of each rating around its prediction, the noise of ratings
        included.
        """
        user_N, item_N = pair_up(self.user_ids.find(user_ids), self.item_ids.find(item_ids))
        rating_N = self.predict_indices(user_N, item_N)
        return (rating_N, self.std_indices(user_N, item_N)) if return_std else rating_N

    def predict_interval(
        self, user_ids: ArrayLike, item_ids: ArrayLike, coverage: float = 0.9
    ) -> tuple[Floats, Floats]:
        """Bounds that hold the rating with probability `coverage`, clipped to the range of the data: two [N].

        Raises `ConfigError` where `coverage` is not between 0 and 1.
        """
        if not 0 < coverage < 1:
            raise ConfigError(f"coverage {coverage:g} is not between 0 and 1, such as 0.9")
        user_N, item_N = pair_up(self.user_ids.find(user_ids), self.item_ids.find(item_ids))
        half_N = NormalDist().inv_cdf((1 + coverage) / 2) * self.std_indices(user_N, item_N)
        middle_N = self.predict_indices(user_N, item_N, clip=False)
        low, high = self.manifest.rating.min, self.manifest.rating.max
        return np.clip(middle_N - half_N, low, high), np.clip(middle_N + half_N, low, high)

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
        std_N = np.empty(len(user_N), np.float32)
        for start in range(0, len(user_N), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            user = self.uncertainty.belief("users", self.users, on_device(user_N[part], self.device))
            item = self.item_belief(item_N[part])
            std_N[part] = self.uncertainty.variance(user, item).sqrt().cpu().numpy()
        return std_N

    def item_belief(self, item_N: NDArray[np.int64]) -> Belief:
        """Posterior of N items."""
        return self.uncertainty.belief("items", self.items, on_device(item_N, self.device))

    def recommend(
        self, user_ids: ArrayLike, n: int = 10, include_seen: bool = False, also_seen: str | None = None
    ) -> list[Recommendations]:
        """The n items with the highest predicted rating for each user, those rated in training left out.

        `also_seen` names a prepared dataset: what these users rated in any of its splits is left out too. A list
        is shorter than n where fewer items are unseen. Raises `ConfigError` where n is below 1.
        """
        return recommend(self, texts(user_ids), n, include_seen, also_seen)

    def fold_in(self, item_ids: ArrayLike, ratings: ArrayLike) -> FoldedUser:
        """A user whom training never saw, from ratings alone. Items that the model does not know are passed over.

        Matrix factorization: the posterior given the ratings. User-AutoRec: encoded. Item-AutoRec: a new row of
        the decoder by ridge regression. Of several ratings of one item the last counts. Raises `DataError` for
        ratings outside the range of the data.
        """
        return fold_in(self, item_ids, ratings)

    def require_users(self, user_ids: ArrayLike) -> None:
        """Raise `DataError` naming the ids that the model does not know."""
        wanted = texts(user_ids)
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
