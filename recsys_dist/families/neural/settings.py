"""The settings that every family of neural models has; each adds its own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys_dist.protocols.family import ModelSettings


class PairSettings(ModelSettings):
    """How a module that scores pairs is trained."""

    learning_rate: float = Field(default=0.001, gt=0)
    """The highest of Adam: it rises over the first tenth of the steps, then falls to 0 along half a cosine."""
    batch_size: int = Field(default=4096, ge=1)
    """Ratings of one step, over all ranks, on average: each rating is dealt to a step of the epoch by chance."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Share of each parameter, times the learning rate, that a step takes off (Loshchilov & Hutter 2019)."""
    parallel: Literal["ddp", "sharded"] = "ddp"
    """`ddp`: each rank has all parameters, and gradients of all travel. `sharded`: each has a range of the rows of
    the tables of users and items, and what a step needs of them travels."""
    fold_in_regularization: float = Field(default=1.0, ge=0)
    """What holds the rows of a folded-in user to the average user's: it counts like so many squared errors for
    each unit that a number of the row moves, squared."""
