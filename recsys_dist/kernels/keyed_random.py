"""Counter-based random bits: a function of key and place, independent of the number of ranks and of the order.

splitmix64 (Steele, Lea & Flood 2014), which computes its n-th number directly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.hashing import GOLDEN, mix

GAMMA = np.uint64(GOLDEN)


def keyed_uniform(key: Sequence[int], place_N: NDArray[np.integer]) -> NDArray[np.float64]:
    """Independent uniform numbers in [0, 1), one per place; `key` as in `keyed_mask`: [N]"""
    # 53 bits, which a float64 holds exactly
    numbers: NDArray[np.float64] = (_keyed_bits(key, place_N) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


def keyed_mask(key: Sequence[int], place_N: NDArray[np.integer], share: float) -> NDArray[np.bool_]:
    """Draw each place independently with probability `share` (0 to 1): bool [N].

    `key` distinguishes this draw from others, such as by seed and epoch.
    """
    bits_N = _keyed_bits(key, place_N)
    # 53 bits, which a float64 holds exactly
    drawn: NDArray[np.bool_] = (bits_N >> np.uint64(11)) < np.uint64(round(share * 2**53))
    return drawn


def _keyed_bits(key: Sequence[int], place_N: NDArray[np.integer]) -> NDArray[np.uint64]:
    (start,) = np.random.SeedSequence(key).generate_state(1, np.uint64)
    # The n-th state of the generator is start + n gamma, modulo 2^64.
    bits_N = place_N.astype(np.uint64)
    bits_N *= GAMMA
    bits_N += start
    return mix(bits_N)
