"""Settings shared by all neural families; each family adds its own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from recsys_dist.protocols.family import ModelSettings


class PairSettings(ModelSettings):
    """Training settings of a module that scores pairs."""

    learning_rate: float = Field(default=0.001, gt=0)
    """Peak rate of Adam: linear warm-up over the first tenth of the steps, times a cosine decay to 0."""
    batch_size: int = Field(default=4096, ge=1)
    """Average number of ratings per step, over all ranks; each rating is assigned to a step at random."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of AdamW (Loshchilov & Hutter 2019)."""
    parallel: Literal["ddp", "sharded"] = "ddp"
    """`ddp`: each rank has all parameters; gradients are all-reduced. `sharded`: each rank has a range of the rows
    of user and item tables; ranks exchange the rows that a step needs."""
    fold_in_regularization: float = Field(default=1.0, ge=0)
    """Weight of the squared distance between a folded-in user's rows and the average user's, relative to the
    squared errors."""
