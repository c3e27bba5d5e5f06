"""Facts of a matrix factorization in model.json, and the tables of its model folder.

users, items                            vector [rows, K], bias [rows]; the last row, one past the last user or
                                        item, is for unknown users or items
user_covariances, item_covariances      if the model keeps its uncertainty: covariance [rows, T], the upper
                                        triangle over (vector, bias), row by row; or variance [rows, n], the
                                        diagonal only; the last row is the prior
user_precisions, item_precisions        with noise per user or item: precision [rows] of the ratings of a user
                                        (or item), relative to shared noise; the last row is 1
user_constraints, item_constraints      with constrained priors: constraint [U, n], [I, n]; a new user's prior
                                        mean shifts by the sum of the rated items' rows / sqrt(their number)
"""

from __future__ import annotations

from pydantic import Field

from recsys_dist.dataset.manifest import Side
from recsys_dist.strict_model import StrictModel


class MfFacts(StrictModel):
    """Parameters for the E step that folds in a new user."""

    offset: float
    """mu, the mean rating."""
    noise_variance: float = Field(gt=0)
    prior_mean: tuple[float, ...]
    prior_covariance: tuple[tuple[float, ...], ...]
    user_precision_dof: float | None = Field(default=None, gt=0)
    """nu of the prior Gamma(nu / 2, nu / 2) of a user's precision; None if all precisions are 1."""
    item_precision_dof: float | None = Field(default=None, gt=0)
    """nu for an item's precision."""


def covariances_of(side: Side) -> str:
    """Name of the covariance table of a side."""
    return "user_covariances" if side == "users" else "item_covariances"


def precisions_of(side: Side) -> str:
    """Name of the precision table of a side."""
    return "user_precisions" if side == "users" else "item_precisions"


def constraints_of(side: Side) -> str:
    """Name of the table of constraint vectors, which shift the prior means of the other side."""
    return "user_constraints" if side == "users" else "item_constraints"
