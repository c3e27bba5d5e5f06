"""Facts of a blend in model.json."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import model_validator

from recsys_dist.model_folder.parts import Part
from recsys_dist.strict_model import StrictModel

Goal = Literal["lists", "ratings"]
"""What a blend is for: the ranking of items, or the prediction of ratings."""


class BlendFacts(StrictModel):
    """intercept + sum over the parts of weight * rating (or score) of the part."""

    goal: Goal
    weights: tuple[float, ...]
    intercept: float
    parts: tuple[Part, ...]

    @model_validator(mode="after")
    def _one_weight_for_each_part(self) -> BlendFacts:
        if len(self.weights) != len(self.parts) or len(self.parts) < 2:
            raise ValueError("a blend has two parts or more, with one weight each")
        if not all(map(math.isfinite, (*self.weights, self.intercept))):
            raise ValueError("the weights of a blend are finite numbers")
        if not any(self.weights):
            raise ValueError("a blend has a weight other than 0")
        return self
