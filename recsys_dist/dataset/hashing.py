"""Stable 64-bit hashes of ids: the same on every machine, in every process and in every version of Python.

They order the users, so that consecutive users are a random sample, and they draw the random split. Neither
depends on how the input is cut into blocks.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)
GOLDEN = 0x9E3779B97F4A7C15
CHUNK = 1 << 14
"""Number of hashes mixed at a time."""


def mix(hashes_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finalizer of splitmix64 (Steele, Lea & Flood 2014): a bijection in which each bit affects all others.

    Takes [N] or [N, X] and returns a new array of the same shape.
    """
    mixed_N = hashes_N.copy()
    # In chunks that stay in the CPU cache through all steps.
    for start in range(0, len(mixed_N), CHUNK):
        part = mixed_N[start : start + CHUNK]
        part ^= part >> np.uint64(30)
        part *= np.uint64(0xBF58476D1CE4E5B9)
        part ^= part >> np.uint64(27)
        part *= np.uint64(0x94D049BB133111EB)
        part ^= part >> np.uint64(31)
    return mixed_N


def text_buffers(texts: pa.LargeStringArray) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets [N + 1] of the texts and the bytes of all of them; views."""
    if len(texts) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    _, offsets, data = texts.buffers()
    return (
        np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1],
        np.frombuffer(data or b"", np.uint8),
    )


def text_hashes(texts: pa.LargeStringArray) -> NDArray[np.uint64]:
    """FNV-1a over the UTF-8 bytes of each text, then `mix`."""
    offsets, data = text_buffers(texts)
    lengths = np.diff(offsets)
    longest_first = np.argsort(-lengths, kind="stable")
    starts, falling = offsets[:-1][longest_first], -lengths[longest_first]
    hashes = np.full(len(texts), FNV_OFFSET)
    for position in range(int(lengths.max(initial=0))):
        longer = np.searchsorted(falling, -position, side="left")
        # h <- (h xor byte) * prime, for the texts that have a byte at this position
        hashes[:longer] = (hashes[:longer] ^ data[starts[:longer] + position]) * FNV_PRIME
    result = np.empty_like(hashes)
    result[longest_first] = mix(hashes)
    return result


def pair_hashes(seed: int, user_hash: NDArray[np.uint64], item_hash: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One hash for each (seed, user, item), uniform over 64 bits."""
    return mix(seeded_hashes(seed, user_hash) ^ item_hash)


def seeded_hashes(seed: int, hashes_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One hash for each (seed, id), uniform over 64 bits: [N]"""
    return mix(hashes_N + np.uint64((seed + 1) * GOLDEN % 2**64))
