"""Damage to files, drawn from a seed: of bytes of any kind, of JSON, and of the header of safetensors."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]
MAX_PIECE = 64
TOKENS = (
    *(b"\0", b"\xff", b'"', b'""', b"\\", b"\n", b"\r", b"\r\n", b",", b";", b"\t", b"::", b"\x1b[31m"),
    *(b"-1", b"9" * 40, b"1e999", b"nan", b"inf", b"-0", b"1.0", b"\xed\xa0\x80", b"\xc3", b"\xef\xbb\xbf"),
    *(b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"PAR1", b"PK\x05\x06"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 2**63, 10**30, -0.5, 1e308, "", "x", "../evil", "/tmp/evil", "a\0b", "\ud800"),
    *([], {}, [[]], {"a": 1}, [0, 0], "0" * 64, "nan"),
)
"""What stands in place of some value of a JSON tree."""


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes of bytes."""
    for _ in range(int(rng.integers(1, 4))):
        change = BYTES[rng.integers(len(BYTES))]
        data = change(data, rng)
    return data


def mutate_json(data: bytes, rng: np.random.Generator) -> bytes:
    """One or two values of a JSON tree replaced or left out."""
    tree = json.loads(data)
    for _ in range(int(rng.integers(1, 3))):
        _change_tree(tree, rng)
    return json.dumps(tree).encode("utf-8", errors="surrogatepass")


def mutate_safetensors(data: bytes, rng: np.random.Generator) -> bytes:
    """The header with values changed, in front of the same tensors."""
    (length,) = struct.unpack("<Q", data[:8])
    header = mutate_json(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def mutations_of(name: str) -> tuple[Mutation, ...]:
    """What may happen to a file of this name."""
    if name.endswith(".json"):
        return (mutate, mutate_json, mutate_json)
    if name.endswith(".safetensors"):
        return (mutate, mutate, mutate_safetensors)
    return (mutate,)


def _change_tree(tree: Any, rng: np.random.Generator) -> None:
    places = [place for place in _places(tree) if isinstance(place[0], dict | list)]
    if not places:
        return
    parent, key = places[rng.integers(len(places))]
    if rng.random() < 0.2:
        del parent[key]
    else:
        parent[key] = deepcopy(VALUES[rng.integers(len(VALUES))])


def _places(tree: Any) -> list[tuple[Any, Any]]:
    if isinstance(tree, dict):
        found: list[tuple[Any, Any]] = [(tree, key) for key in tree]
    elif isinstance(tree, list):
        found = [(tree, key) for key in range(len(tree))]
    else:
        return []
    return found + [place for parent, key in found for place in _places(parent[key])]


def _at(data: bytes, rng: np.random.Generator) -> int:
    return int(rng.integers(len(data) + 1))


def _piece(data: bytes, rng: np.random.Generator) -> tuple[int, int]:
    start = _at(data, rng)
    return start, min(len(data), start + int(rng.integers(1, MAX_PIECE)))


def _flip(data: bytes, rng: np.random.Generator) -> bytes:
    if not data:
        return data
    changed, at = bytearray(data), int(rng.integers(len(data)))
    changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _at(data, rng)]


def _drop(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = _piece(data, rng)
    return data[:start] + data[stop:]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = _piece(data, rng)
    return data[:stop] + data[start:stop] * int(rng.integers(1, 4)) + data[stop:]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = _at(data, rng)
    return data[:at] + TOKENS[rng.integers(len(TOKENS))] + data[at:]


def _overwrite(data: bytes, rng: np.random.Generator) -> bytes:
    at, token = _at(data, rng), TOKENS[rng.integers(len(TOKENS))]
    return data[:at] + token + data[at + len(token) :]


def _scramble(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = _piece(data, rng)
    return data[:start] + rng.bytes(stop - start) + data[stop:]


def _blank(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = _piece(data, rng)
    return data[:start] + b"\0" * (stop - start) + data[stop:]


BYTES: tuple[Mutation, ...] = (_flip, _flip, _cut, _drop, _repeat, _insert, _overwrite, _scramble, _blank)
