"""Facts of an EASE in model.json, and the table of its model folder.

items       weight [I, k] float32: the largest weights of each item; source [I, k] int32: the items that they
            belong to, ascending; without `source` the weights of all items in order, k = I
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys_dist.families.targets import Target
from recsys_dist.strict_model import StrictModel


class EaseFacts(StrictModel):
    """How a user's interactions become the input of the model, and how it was solved."""

    target: Target
    regularization: float = Field(gt=0)
    method: Literal["exact", "sparse"]
    kept_share: float
    """Share of |B|^2 that the kept weights have."""
