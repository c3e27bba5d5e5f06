"""The JSON bodies of requests and answers; their fields have the names of the Python API.

Sizes are bounded, so that no request takes memory or time without limit.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StringConstraints

from recsys_dist.inference.criterion import RankBy

MOST_USERS, MOST_ITEMS, MOST_PAIRS = 1000, 10_000, 10_000
LONGEST_LIST = 1000
LONGEST_ID, LONGEST_TITLE = 1000, 500
LARGEST_SEED = (1 << 53) - 1
"""The largest whole number that every reader of JSON keeps."""


def _number(value: Any) -> Any:
    """A number of JSON; text and booleans are none. 5.0 is a whole number there."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a whole number is needed")
    return value


Id = Annotated[str, StringConstraints(max_length=LONGEST_ID)] | Annotated[int, BeforeValidator(_number)]
"""An id as in the data: text, or a whole number that stands for its digits."""
Ids = Annotated[list[Id], Field(min_length=1, max_length=MOST_ITEMS)]
Length = Annotated[int, Field(ge=1, le=LONGEST_LIST), BeforeValidator(_number)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED), BeforeValidator(_number)]


class Body(BaseModel):
    """Base of the bodies of requests: undeclared fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Pair(Body):
    """A user and an item; either may be unknown to the model."""

    user_id: Id
    item_id: Id


class PredictBody(Body):
    """Pairs whose ratings are wanted."""

    pairs: Annotated[list[Pair], Field(min_length=1, max_length=MOST_PAIRS)]


class ListWish(Body):
    """What a list contains, see `Model.recommend`."""

    n: Length = Field(10, description="Items of a list; a list is shorter if fewer are left.")
    include_seen: StrictBool = Field(False, description="Whether lists contain items that the user has rated.")
    rank_by: RankBy = Field("mean", description="`lower` and `thompson` need a model with an uncertainty.")
    confidence: float = Field(
        0.9, strict=True, gt=0, lt=1, description="With `lower`: how surely the expected rating exceeds the bound."
    )
    seed: Seed = Field(0, description="With `thompson`: the seed of the draws.")
    items: Ids | None = Field(None, description="Candidates, all known to the model; null: all items.")
    exclude: Ids | None = Field(None, description="Items of no list, all known to the model.")


class RecommendBody(ListWish):
    """Users whose lists are wanted; an unknown user gets the list of an average one."""

    user_ids: Annotated[list[Id], Field(min_length=1, max_length=MOST_USERS)]


class ItemRating(Body):
    """A rating that was not in training."""

    item_id: Id
    rating: float = Field(strict=True, description="Within the range of the data, see `/model`.")


class FoldInBody(ListWish):
    """Ratings of a new user, or further ratings of a known one; unknown items are skipped."""

    ratings: Annotated[list[ItemRating], Field(max_length=MOST_ITEMS)]
    user_id: Id | None = Field(None, description="A known user, whose train ratings count too.")


class Prediction(BaseModel):
    """The predicted rating of a pair; `std` is null if the model has no uncertainty."""

    user_id: str
    item_id: str
    rating: float
    std: float | None


class PredictAnswer(BaseModel):
    """One prediction for each pair, in the order of the request."""

    predictions: list[Prediction]


class ListedItem(BaseModel):
    """A line of a list: `score` is the predicted rating, or the score of a model that ranks."""

    item_id: str
    title: str | None
    score: float
    std: float | None


class UserList(BaseModel):
    """The list of one user, best first."""

    user_id: str
    items: list[ListedItem]


class RecommendAnswer(BaseModel):
    """One list for each user, in the order of the request."""

    lists: list[UserList]


class FoldInAnswer(BaseModel):
    """The list of the folded-in user, best first, and the rated items that the model does not know."""

    items: list[ListedItem]
    unknown_items: list[str]


class SimilarRow(BaseModel):
    """An item or user and its similarity to the one that was asked for; users have no title."""

    id: str
    title: str | None
    similarity: float


class SimilarAnswer(BaseModel):
    """The most similar items or users, best first."""

    similar: list[SimilarRow]


class FoundItem(BaseModel):
    """An item and its title."""

    item_id: str
    title: str


class ItemsAnswer(BaseModel):
    """The items whose titles match best; the most similar titles if `is_match` is false."""

    items: list[FoundItem]
    is_match: bool


class ModelAnswer(BaseModel):
    """The model that answers at the moment."""

    kind: str
    digest: str = Field(description="Identifies the files of the model.")
    loaded_at: str = Field(description="UTC, ISO 8601.")
    num_users: int
    num_items: int
    predicts_ratings: bool = Field(description="False: the model ranks, and `/predict` is refused.")
    knows_uncertainty: bool
    has_titles: bool
    rating_min: float
    rating_max: float


class HealthAnswer(BaseModel):
    """`ok`, or why the newest model could not be loaded while an older one answers."""

    status: str
    digest: str
    reload_error: str | None


class ErrorAnswer(BaseModel):
    """Every error: one line that says what is wrong and what would be right."""

    message: str
