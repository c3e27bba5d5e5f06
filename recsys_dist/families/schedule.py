"""Learning rate schedule of gradient descent."""

from __future__ import annotations

import math

WARM_UP = 0.1


def warm_cosine(rate: float, done: float) -> float:
    """Linear warm-up over the first `WARM_UP` of the training, times a cosine decay to 0 over the whole training.

    `done` is the fraction of steps done.
    """
    return rate * min(1.0, done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
