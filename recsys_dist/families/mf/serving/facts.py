"""What model.json says of a matrix factorization, and the tables of its model folder.

users, items                            vector [rows, K], bias [rows]; the last row, one past the last user or
                                        item, stands for those of whom no rating is known
user_covariances, item_covariances      where the model knows its uncertainty: covariance [rows, T], the upper
                                        triangle over (vector, bias), row by row; or variance [rows, n], the
                                        diagonal alone; the last row is the prior
user_precisions, item_precisions        precision [rows], where noise differs: how many times as precise the
                                        ratings of a user (or item) are as the rest; the last row is 1
user_constraints, item_constraints            constraint [U, n], [I, n], where priors are constrained: a new user's
                                        prior mean moves by the sum of its items' rows / sqrt(their number)
"""

from __future__ import annotations

from pydantic import Field

from recsys_dist.dataset.manifest import Side
from recsys_dist.strict_model import StrictModel


class MfFacts(StrictModel):
    """What a new user is made of beside the ratings: a posterior, by one E step."""

    offset: float
    """mu, the mean rating."""
    noise_variance: float = Field(gt=0)
    prior_mean: tuple[float, ...]
    prior_covariance: tuple[tuple[float, ...], ...]
    user_precision_dof: float | None = Field(default=None, gt=0)
    """nu of the prior Gamma(nu / 2, nu / 2) of a user's precision; None where all precisions are 1."""
    item_precision_dof: float | None = Field(default=None, gt=0)
    """The same of an item's."""


def covariances_of(side: Side) -> str:
    """Name of the table with the covariances of a side."""
    return "user_covariances" if side == "users" else "item_covariances"


def precisions_of(side: Side) -> str:
    """Name of the table with the precisions of a side."""
    return "user_precisions" if side == "users" else "item_precisions"


def constraints_of(side: Side) -> str:
    """Name of the table with what each user (or item) adds to the prior means of the other side."""
    return "user_constraints" if side == "users" else "item_constraints"
