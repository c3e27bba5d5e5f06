"""Errors for diverging training of an AutoRec, with a remedy."""

from __future__ import annotations

import math

import torch

from recsys_dist.dataset.manifest import RatingStats
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import SharedError
from recsys_dist.families.autorec.network.network import Autorec, Batch
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.search import Choice


def not_finite(epoch: int, place: str, rank: str, settings: AutorecSettings, choice: Choice) -> SharedError:
    """The exception for a step whose loss is not finite."""
    return SharedError(
        f"the error is not finite in epoch {epoch}, {place}, on {rank}; {_remedy(settings, choice)}"
    )


def require_sense(
    epoch: int, what: str, rmse: float, rating: RatingStats, settings: AutorecSettings, choice: Choice
) -> None:
    """Raise `SharedError` if the RMSE of an epoch exceeds the range of the ratings."""
    if not rmse <= rating.max - rating.min and rating.max > rating.min:
        raise SharedError(
            f"training diverges: after epoch {epoch} the {what} is {rmse:.4g}, where all ratings lie between "
            f"{rating.min:g} and {rating.max:g}; {_remedy(settings, choice)}"
        )


@torch.no_grad()
def rmse_of(model: Autorec, batch: Batch, collectives: Collectives) -> float:
    """RMSE of one batch over all ranks, after its step; the epoch's errors are from before each step."""
    error_N = (model(batch) - batch.rating_N).double()
    sums = torch.stack([error_N.square().sum(), torch.ones_like(error_N).sum()])
    squared, count = collectives.sum_(sums).tolist()
    return math.sqrt(squared / count) if count else 0.0


def _remedy(settings: AutorecSettings, choice: Choice) -> str:
    if settings.optimizer == "lbfgs":
        return f"raise model.regularization (now {choice.regularization:g})"
    return f"lower model.learning_rate (now {settings.learning_rate:g})"
