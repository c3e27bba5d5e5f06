"""Facts of an AutoRec in model.json, and the tables of its model folder.

users, items                            vector [rows, K], bias [rows]; the last row, one past the last user or
                                        item, is for unknown users or items
encoder, hidden, layer_1 ..             for fold-in (user-AutoRec): encoder [items, K] and column_bias [items];
                                        bias [K]; weight and bias of each further layer
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recsys_dist.strict_model import StrictModel


class EncodeFoldIn(StrictModel):
    """Fold-in by the encoder (user-AutoRec)."""

    kind: Literal["encode"] = "encode"
    hidden_activation: str
    centring: Literal["biases", "mean"] = "biases"
    mean: float
    scale: float = Field(gt=0)
    row_shrinkage: float = Field(ge=0)
    implicit_input: float = 0.0
    length_normalization: float = 0.0
    mean_length: float = Field(default=1.0, gt=0)
    short_length: float = Field(default=0.0, ge=0)
    """Users with fewer ratings are shrunk towards the average user: short_rows.py."""
    short_pull: float = Field(default=0.0, ge=0)


class RidgeFoldIn(StrictModel):
    """Fold-in by ridge regression of a new decoder column (item-AutoRec)."""

    kind: Literal["ridge"] = "ridge"
    regularization: float = Field(ge=0)
    column_shrinkage: float = Field(ge=0)


class AutorecFacts(StrictModel):
    """The bilinear form of a trained AutoRec, and its fold-in."""

    offset: float
    """The mean rating."""
    output_activation: Literal["identity", "sigmoid"]
    fold_in: Annotated[EncodeFoldIn | RidgeFoldIn, Field(discriminator="kind")]
