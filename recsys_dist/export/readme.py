"""The README.md of an export: its files, the formula, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recsys_dist.model_folder.manifest import ModelManifest
from recsys_dist.protocols.portable import SigmoidLink
from recsys_dist.version import __version__

PRIVACY = "This folder holds ids of users and what they rated: personal data, if the ids belong to people."


def prediction(link: SigmoidLink | None, predicts_ratings: bool) -> str:
    """The formula from a score to a prediction."""
    shown = "score"
    if link is not None:
        shown = "link.low + link.width * sigmoid(link.intercept + link.slope * score)"
    return f"clip({shown}, clip[0], clip[1])" if predicts_ratings else shown


def of_factors(model: ModelManifest, formula: Mapping[str, Any]) -> str:
    """README.md of factors in Parquet."""
    numbers = {name: formula[name] for name in ("offset", "link", "clip") if formula[name] is not None}
    lines = "\n".join(f"    {name} = {value}" for name, value in numbers.items())
    kind = "rating" if formula["predicts_ratings"] else "score, by which items are ranked"
    return f"""{_head(model, "Factors")}
| file | columns |
|---|---|
| `users.parquet` | `user_id`, `num_train`, `bias`, `factors` |
| `items.parquet` | `item_id`, `title`, `num_train`, `bias`, `factors` |
| `ratings.parquet` | `user_id`, `item_id`, `rating`: the train ratings, which lists leave out |

The {kind}:

    score = {formula["score"]}
    prediction = {formula["prediction"]}

{lines}

Factors are lists of {formula["factors"]} float32; ids are text. The same numbers stand in the metadata of
`users.parquet` and `items.parquet`, key `recsys_dist`, with `unknown`: bias and factors of users (or items) that
the model does not know. Computed in float32, predictions agree with those of the model up to rounding. Lists are
the unseen items with the highest scores; a link never changes their order.

{PRIVACY}
"""


def of_neighborhood(model: ModelManifest, formula: Mapping[str, Any]) -> str:
    """README.md of weights between items in Parquet."""
    return f"""{_head(model, "Weights between items")}
| file | columns |
|---|---|
| `weights.parquet` | `item_id`, `neighbor_id`, `weight`: all weights other than 0 |
| `items.parquet` | `item_id`, `title`, `num_train`, `popularity` |
| `ratings.parquet` | `user_id`, `item_id`, `rating`, `value`: the train ratings, which lists leave out |

The score, by which items are ranked:

    score = {formula["score"]}
    prediction = {formula["prediction"]}

Computed in float32, scores agree with those of the model up to rounding.

{PRIVACY}
"""


def of_index(model: ModelManifest, library: str, figures: Mapping[str, Any], zeros: int) -> str:
    """README.md of an index whose queries end with so many zeros."""
    measured = ("effort", "recall_at_10", "seconds_per_query", "users_compared")
    shown = "\n".join(f"- {name.replace('_', ' ')}: {_shown(figures[name])}" for name in measured)
    return f"""{_head(model, f"An index of item vectors ({library})")}
| file | content |
|---|---|
| `{figures["file"]}` | {figures["index"]} |
| `items.parquet` | `item_id`, `title`, `num_train`; row number = number of the item in the index |
| `users.parquet` | `user_id`, `vector`: the query; `seen`: numbers of the items that lists leave out |

{_vectors(figures["width"], zeros)}
Ask for as many items as the list shall have plus those that the user has seen, and drop these.

{shown}

{PRIVACY}
"""


def of_onnx(model: ModelManifest, figures: Mapping[str, Any]) -> str:
    """README.md of a network."""
    low, high = model.rating.min, model.rating.max
    return f"""{_head(model, "Encoder and decoder (ONNX)")}
| file | content |
|---|---|
| `encoder.onnx` | `rating` float32 [users, items], `is_rated` bool [users, items] -> `vector`, `bias` |
| `decoder.onnx` | `vector` float32 [users, {figures["units"]}], `bias` float32 [users] -> `rating` |
| `items.parquet` | `item_id`, `title`, `num_train`; row number = column of `rating` |

Opset {figures["opset"]}; any number of users at once. Ratings from {low:g} to {high:g}; what stands in `rating`
where `is_rated` is false does not matter. The network answers as the model does for a new user with these ratings:
users with few ratings are shrunk towards the average user. Predicted ratings are clipped to the range of the data.

Largest difference to the model, over all items for {figures["users_checked"]} users:
{figures["largest_difference"]:.2g}.
"""


def _head(model: ModelManifest, title: str) -> str:
    return f"""# {title}

Exported by recsys_dist {__version__} from a model of kind `{model.kind}` with {model.num_users:,} users and
{model.num_items:,} items, digest `{model.contents_digest}`.
"""


def _vectors(width: int, zeros: int) -> str:
    own = "factors and bias of an item, factors of a user and 1"
    order = "The larger the inner product, the larger the score of the model."
    if zeros:
        own = "factors and bias of an item and what it lacks to the longest, factors of a user, 1 and 0"
        order = "The larger the inner product and the smaller the distance, the larger the score of the model."
    return f"Vectors have {width} numbers: {own}.\n{order}"


def _shown(figure: float | str | None) -> str:
    if figure is None:
        return "not measured, as no user has a rating"
    return f"{figure:.4g}" if isinstance(figure, float) else f"{figure}"
