"""The order of whole numbers, in about half the time that a stable `np.argsort` takes. N keys."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST_BITS = 63
"""Of a number that is sorted."""


def stable_order(key_N: NDArray[np.integer], num_keys: int) -> NDArray[np.int64]:
    """`np.argsort(key_N, kind="stable")` of keys from 0 to below `num_keys`."""
    place_bits = len(key_N).bit_length()
    if (num_keys - 1).bit_length() + place_bits > LARGEST_BITS:
        return np.argsort(key_N, kind="stable")
    # Key and place in one number each: numpy sorts plain numbers by vector instructions, and finds orders without.
    packed_N = key_N.astype(np.int64)
    packed_N <<= place_bits
    packed_N |= np.arange(len(key_N))
    packed_N.sort()
    packed_N &= (1 << place_bits) - 1
    return packed_N
