"""How the rate of gradient descent changes while a training goes on."""

from __future__ import annotations

import math

WARM_UP = 0.1


def warm_cosine(rate: float, done: float) -> float:
    """A straight rise over the first `WARM_UP` of a training, times half a cosine that falls to 0 over all of it.

    `done` is the share of the steps that are done.
    """
    return rate * min(1.0, done / WARM_UP) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
