"""The error for non-finite numbers in a factorization, with a remedy."""

from __future__ import annotations

import math

from recsys_dist.dataset.manifest import RatingStats
from recsys_dist.errors import SharedError
from recsys_dist.families.mf.settings import MfSettings

LARGEST_RATING = 1e15
"""For larger ratings, sums of squares of many ratings come close to the range of float32."""


def not_finite(
    side: str, rows: list[int], noise_variance: float, rating: RatingStats, settings: MfSettings
) -> SharedError:
    """The error for a `side`, "user" or "item", whose `rows` could not be solved; `rows` is empty if unknown."""
    where = f"{side} {min(rows)}" if rows else f"the {side}s"
    remedy = _remedy(noise_variance, rating, settings)
    return SharedError(f"the numbers of {where} are not finite (noise variance {noise_variance:g}); {remedy}")


def _remedy(noise_variance: float, rating: RatingStats, settings: MfSettings) -> str:
    if not math.isfinite(noise_variance) or max(abs(rating.min), abs(rating.max)) > LARGEST_RATING:
        return (
            f"ratings from {rating.min:g} to {rating.max:g} are too large for sums of squares in float32: "
            "rescale them, or drop the largest with ratings.min and ratings.max of prepare"
        )
    if settings.constrained_regularization is not None:
        return f"set model.constrained_regularization (now {settings.constrained_regularization:g}) to null"
    if settings.posterior != "full" or settings.prior == "fixed":
        return (
            "use posterior: full with prior: adaptive, or raise model.regularization "
            f"(now {settings.regularization:g})"
        )
    return "use model.constrained: none and model.noise: shared"
