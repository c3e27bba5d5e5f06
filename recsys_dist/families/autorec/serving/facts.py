"""What model.json says of an AutoRec, and the tables of its model folder.

users, items                            vector [rows, K], bias [rows]; the last row, one past the last user or
                                        item, stands for those of whom no rating is known
encoder, hidden, layer_1 ..             encoder [items, K] and column_bias [items]; bias [K]; weight and bias
                                        of the layers behind: with them a user-AutoRec folds in new users
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from recsys_dist.strict_model import StrictModel


class EncodeFoldIn(StrictModel):
    """A new user is encoded (user-AutoRec)."""

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
    """With fewer ratings a user is drawn to the average one: short_rows.py"""
    short_pull: float = Field(default=0.0, ge=0)


class RidgeFoldIn(StrictModel):
    """A new user is a new column of the decoder, fitted by ridge regression (item-AutoRec)."""

    kind: Literal["ridge"] = "ridge"
    regularization: float = Field(ge=0)
    column_shrinkage: float = Field(ge=0)


class AutorecFacts(StrictModel):
    """The bilinear form of a trained AutoRec, and how it takes in a new user."""

    offset: float
    """The mean rating."""
    output_activation: Literal["identity", "sigmoid"]
    fold_in: Annotated[EncodeFoldIn | RidgeFoldIn, Field(discriminator="kind")]
