"""Settings of iALS: `model:` in `configs/ials.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys_dist.families.targets import TargetKind
from recsys_dist.protocols.family import ModelSettings


class IalsSettings(ModelSettings):
    """Matrix factorization of interactions by alternating least squares (Hu, Koren & Volinsky 2008)."""

    kind: Literal["ials"] = "ials"
    factors: int = Field(default=128, ge=1, le=1024)
    """K, the length of the vectors. An epoch costs about K."""
    target: TargetKind | None = "graded"
    """Which ratings are interactions. `graded`: all of them, with a weight that grows with the rating; `liked`:
    ratings of at least the train mean; `all`: all of them, with equal weights. In a dataset of interactions,
    `graded` gives n interactions of a pair the weight 1 + ln n. null: chosen like `unobserved_weight`."""
    unobserved_weight: float | None = Field(default=None, gt=0)
    """Weight of a pair without an interaction, relative to the mean weight of interactions. null: chosen before
    the first epoch, on withheld interactions."""
    regularization: float | None = Field(default=None, gt=0)
    """lambda of the penalty lambda (n + unobserved_weight m)^frequency_scaling |x|^2 of a row x with n
    interactions, where the other side has m rows. null: chosen like `unobserved_weight`."""
    frequency_scaling: float = Field(default=1.0, ge=0, le=1)
    """nu: how much more the penalty of rows with many interactions weighs; 0: the same penalty for all rows."""
    tolerance: float = Field(default=1e-3, ge=0)
    """Training ends once an epoch lowers the objective by less than this fraction; 0: never."""
