"""The biases under an AutoRec, learnt over the shards of all ranks.

In: the train blocks of this rank's rows. Out: the same `Biases` on every rank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from recsys_dist.dataset.blocks import Block
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.kernels.biases import SWEEPS, Biases


def fit_biases(blocks: Sequence[Block], num_columns: int, mean: float, collectives: Collectives) -> Biases:
    """Fit from the mean of all ratings; entered by all ranks together. Sums are float64."""
    biases = Biases(mean, np.zeros(num_columns))
    for _ in range(SWEEPS):
        sums = torch.from_numpy(biases.sums(blocks)).to(collectives.world.device)
        biases = biases.after(collectives.sum_(sums).cpu().numpy())
    return biases
