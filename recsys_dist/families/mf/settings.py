"""The settings of a matrix factorization: `model:` of `configs/mf.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from recsys_dist.protocols.family import ModelSettings


class MfSettings(ModelSettings):
    """Matrix factorization by EM (DESIGN: r_ui ~ Normal(mu + b_u + c_i + p_u . q_i, sigma^2))."""

    kind: Literal["mf"] = "mf"
    factors: int = Field(default=32, ge=0, le=256)
    """K, the length of p_u and q_i; 0 leaves the biases alone. Epochs cost about K^2, and more K does no harm."""
    posterior: Literal["point", "diagonal", "full"] = "full"
    """`full` keeps a covariance for each user and item, `diagonal` a variance for each of their numbers (epochs
    cost about K, not K^2), `point` only the most probable factors."""
    prior: Literal["fixed", "adaptive"] = "adaptive"
    """`adaptive` learns prior means and full covariances of both sides; `fixed` is ridge regression."""
    regularization: float = Field(default=5.0, gt=0)
    """lambda of the ridge with `prior: fixed`: noise variance over prior variance. Which is best depends on the
    data and on the scale of its ratings, as in every ALS; the adaptive prior depends on neither."""
    constrained: Literal["auto", "none", "users", "items", "both"] = "auto"
    """Whose prior mean depends on what they are rated with (constrained PMF). `auto` tries it out in training."""
    constrained_regularization: float | None = Field(default=None, gt=0)
    """lambda of the constrained priors: how many ratings the prior of an effect is worth; null tries it out."""
    noise: Literal["auto", "shared", "users", "both"] = "auto"
    """Whose ratings scatter differently: a precision of its own for each user, or each user and item."""
    tolerance: float = Field(default=1e-4, ge=0)
    """Training is over once an epoch raises the likelihood bound by less than this much per rating; 0: never. With
    `posterior: point` and `prior: fixed`: lowers the penalised squared error by less than twice this share."""

    @model_validator(mode="after")
    def _extensions_need_an_adaptive_prior(self) -> MfSettings:
        if self.prior == "fixed" and self.constrained in {"users", "items", "both"}:
            raise ValueError("constrained: needs prior: adaptive; with prior: fixed use constrained: none")
        if self.prior == "fixed" and self.noise in {"users", "both"}:
            raise ValueError("noise: that differs needs prior: adaptive; with prior: fixed use noise: shared")
        return self
