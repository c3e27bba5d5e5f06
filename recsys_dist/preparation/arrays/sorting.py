"""Stable sorting of N integers, in about half the time of a stable `np.argsort`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST_BITS = 63
"""Bits available for key and position in one sorted integer."""
LONG_STRETCH = 8
"""Mean length of runs of equal keys from which runs are sorted instead of single keys."""


def stable_order(key_N: NDArray[np.integer], num_keys: int) -> NDArray[np.int64]:
    """`np.argsort(key_N, kind="stable")` for keys in 0 .. num_keys - 1."""
    is_other = key_N[1:] != key_N[:-1]
    if (np.count_nonzero(is_other) + 1) * LONG_STRETCH <= len(key_N):
        start = np.concatenate([[0], np.flatnonzero(is_other) + 1])
        return _order_of_stretches(key_N[start], np.diff(start, append=len(key_N)), num_keys)
    return sort_stably(key_N, num_keys)[1]


def sort_stably(key_N: NDArray[np.integer], num_keys: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The sorted keys and `np.argsort(key_N, kind="stable")`; suited to keys without long runs of equal ones."""
    place_bits = len(key_N).bit_length()
    if (num_keys - 1).bit_length() + place_bits > LARGEST_BITS:
        order_N = np.argsort(key_N, kind="stable")
        return key_N[order_N].astype(np.int64, copy=False), order_N
    # Pack key and position into one integer: numpy vectorizes sort but not argsort.
    packed_N = key_N.astype(np.int64)
    packed_N <<= place_bits
    packed_N |= np.arange(len(key_N))
    packed_N.sort()
    order_N = packed_N & ((1 << place_bits) - 1)
    packed_N >>= place_bits
    return packed_N, order_N


class SortedPairs(NamedTuple):
    """Pairs sorted by the first and then the second number; stable."""

    key_N: NDArray[np.int64]
    """One integer per pair; equal pairs have equal keys."""
    first_N: NDArray[np.int64]
    second_N: NDArray[np.int64]
    order_N: NDArray[np.int64]
    """The original position of each pair."""


def sort_pairs(
    first_N: NDArray[np.int64], second_N: NDArray[np.integer], num_firsts: int, num_seconds: int
) -> SortedPairs:
    """Sort pairs from 0 .. num_firsts - 1 and 0 .. num_seconds - 1; suited to inputs without long runs."""
    bits = num_seconds.bit_length()
    key_N, order_N = sort_stably((first_N << bits) | second_N, num_firsts << bits)
    # Both numbers are decoded from the sorted keys, without gathering from the input.
    return SortedPairs(key_N, key_N >> bits, key_N & ((1 << bits) - 1), order_N)


def _order_of_stretches(
    key_S: NDArray[np.integer], length_S: NDArray[np.int64], num_keys: int
) -> NDArray[np.int64]:
    """The stable order of keys given as S runs of equal keys."""
    start_S = np.cumsum(length_S) - length_S
    _, by_key_S = sort_stably(key_S, num_keys)
    length_S, start_S = length_S[by_key_S], start_S[by_key_S]
    # The r-th key of a run that moves from position s to t moves from s + r to t + r.
    shift_S = start_S - (np.cumsum(length_S) - length_S)
    order_N = np.repeat(shift_S, length_S)
    order_N += np.arange(len(order_N))
    return order_N
