"""Settings of matrix factorization: `model:` in `configs/mf.yaml`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from recsys_dist.config import auto_or_number
from recsys_dist.protocols.family import ModelSettings


class MfSettings(ModelSettings):
    """Matrix factorization by EM: r_ui ~ Normal(mu + b_u + c_i + p_u . q_i, sigma^2)."""

    kind: Literal["mf"] = "mf"
    factors: Annotated[Literal["auto"] | int, auto_or_number(0, 256)] = "auto"
    """K, the length of p_u and q_i; 0 keeps only the biases. An epoch costs about K^2. `auto` begins with a
    power of 2 from 4 to 32, two to four factors for each train rating of an average user or item. It doubles the
    number while ratings not trained on gain enough, and removes factors in the end that these do not support."""
    posterior: Literal["point", "diagonal", "full"] = "full"
    """`full` keeps a covariance for each user and item, `diagonal` only variances (an epoch costs about K, not
    K^2), `point` only point estimates (the posterior mode)."""
    prior: Literal["fixed", "adaptive"] = "adaptive"
    """`adaptive` learns prior means and full covariances of both sides; `fixed` is ridge regression."""
    regularization: float = Field(default=5.0, gt=0)
    """Ridge penalty lambda with `prior: fixed`: noise variance over prior variance. As in ALS, the best value
    depends on the data and on the scale of its ratings; the adaptive prior needs no such choice."""
    constrained: Literal["auto", "none", "users", "items", "both"] = "auto"
    """Which side's prior mean depends on its interactions (constrained PMF). `auto` decides during training."""
    constrained_regularization: float | None = Field(default=None, gt=0)
    """lambda of the constrained priors: weight of an effect's prior, in ratings; null tunes it during training."""
    noise: Literal["auto", "shared", "users", "both"] = "auto"
    """Noise precision: `shared`, one per user (`users`), or one per user and one per item (`both`)."""
    tolerance: float = Field(default=1e-4, ge=0)
    """Training ends once an epoch raises the likelihood bound by less than this per rating; 0: never. With
    `posterior: point` and `prior: fixed`: once the penalised squared error falls by less than twice this share."""

    @model_validator(mode="after")
    def _extensions_need_an_adaptive_prior(self) -> MfSettings:
        if self.prior == "fixed" and self.constrained in {"users", "items", "both"}:
            raise ValueError("constrained: needs prior: adaptive; with prior: fixed use constrained: none")
        if self.prior == "fixed" and self.noise in {"users", "both"}:
            raise ValueError("noise: users or both needs prior: adaptive; with prior: fixed use noise: shared")
        return self
