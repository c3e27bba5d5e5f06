"""The module of a family, with initial values independent of the number of ranks and of the sharding.

Table rows are drawn in blocks: for each block, the module is built at the size of a block, with a seed of its own.
The other parameters and buffers come from a module for a single user and item. So a rank never holds more than its
own rows and one block.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from recsys_dist.dataset.manifest import RatingStats, Side
from recsys_dist.errors import ConfigError
from recsys_dist.protocols.family import ModelSettings

BLOCK_ROWS = 1 << 16
"""Rows whose initial values are drawn together."""
REST_STREAM, ROWS_STREAM = 6, 7
Rows = dict[str, torch.Tensor]
"""Rows of each table of one side."""


class PairSource(Protocol):
    """A family's description of its module: see family.py."""

    @property
    def name(self) -> str:
        """Name of the family."""

    @property
    def settings(self) -> type[ModelSettings]:
        """Class of the settings."""

    @property
    def user_tables(self) -> tuple[str, ...]:
        """Parameters with one row per user."""

    @property
    def item_tables(self) -> tuple[str, ...]:
        """Parameters with one row per item."""

    def build(self, settings: Any, num_users: int, num_items: int, rating: RatingStats) -> nn.Module:
        """The module."""


@dataclass(frozen=True)
class Parts:
    """This rank's rows of each table, and all other parameters and buffers."""

    users: Rows
    items: Rows
    rest: Rows
    buffers: Rows

    def rows(self, side: Side) -> Rows:
        """The rows of users or items."""
        return self.users if side == "users" else self.items


def tables_of(family: PairSource, side: Side) -> tuple[str, ...]:
    """Names of the tables of a side."""
    return family.user_tables if side == "users" else family.item_tables


def empty_module(
    family: PairSource, settings: Any, num_users: int, num_items: int, rating: RatingStats
) -> nn.Module:
    """The module without storage (on `meta`), if it can be built so."""
    try:
        with torch.device("meta"):
            return family.build(settings, num_users, num_items, rating)
    except (RuntimeError, NotImplementedError):
        # Its constructor reads values.
        return _built(family, settings, num_users, num_items, rating)


def check_module(family: PairSource, settings: Any, num_users: int, num_items: int, rating: RatingStats) -> None:
    """Raise `ConfigError` if the module cannot be built or does not have the tables that the family names."""
    where = f"{type(family).__module__}:{type(family).__qualname__}"
    try:
        module = empty_module(family, settings, num_users, num_items, rating)
    except Exception as error:
        raise ConfigError(
            f"{where}: build failed: {type(error).__name__}: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(f"{where}: build returns a {type(module).__name__}, not an nn.Module")
    parameters = dict(module.named_parameters())
    _check_tables(family, where, parameters, num_users, num_items)
    small = dict(_built(family, settings, 1, 1, rating).named_parameters())
    for name, parameter in parameters.items():
        if name not in {*family.user_tables, *family.item_tables} and small[name].shape != parameter.shape:
            raise ConfigError(
                f"{where}: {name} grows with the number of users or items, but neither user_tables nor "
                "item_tables names it"
            )


def _check_tables(
    family: PairSource, where: str, parameters: Mapping[str, nn.Parameter], num_users: int, num_items: int
) -> None:
    for side, count in (("user", num_users), ("item", num_items)):
        names = getattr(family, f"{side}_tables", None)
        if not isinstance(names, tuple) or not names:
            raise ConfigError(
                f"{where}: {side}_tables is not a tuple of parameter names, such as ('{side}.weight',)"
            )
        for name in names:
            if name not in parameters:
                raise ConfigError(f"{where}: {side}_tables names {name!r}, but the module has no such parameter")
            if parameters[name].shape[:1] != (count + 1,):
                raise ConfigError(
                    f"{where}: {name} has the shape {list(parameters[name].shape)}, but {count} {side}s need "
                    f"{count + 1} rows, the last one for unknown ids"
                )


def initial_parts(
    family: PairSource,
    settings: Any,
    rating: RatingStats,
    seed: int,
    ranges: Mapping[Side, tuple[int, int]],
) -> Parts:
    """Initial values of the rows start .. stop of each side, and of everything else; on the CPU."""
    with _seeded(seed, REST_STREAM):
        small = _built(family, settings, 1, 1, rating)
    tables = {*family.user_tables, *family.item_tables}
    rest = {name: p.detach() for name, p in small.named_parameters() if name not in tables}
    buffers = {name: buffer.detach() for name, buffer in small.named_buffers()}
    sides: dict[Side, Rows] = {"users": {}, "items": {}}
    for side, rows in sides.items():
        start, stop = ranges[side]
        pieces = [_block(family, settings, rating, seed, side, b, start, stop) for b in _blocks(start, stop)]
        for name in tables_of(family, side):
            like = small.get_parameter(name)
            empty = like.new_empty((0, *like.shape[1:])).detach()
            rows[name] = torch.cat([empty, *(piece[name] for piece in pieces)])
    return Parts(sides["users"], sides["items"], rest, buffers)


def _blocks(start: int, stop: int) -> range:
    return range(start // BLOCK_ROWS, -(-stop // BLOCK_ROWS))


def _block(
    family: PairSource,
    settings: Any,
    rating: RatingStats,
    seed: int,
    side: Side,
    block: int,
    start: int,
    stop: int,
) -> Rows:
    """The rows start .. stop, as far as they lie in one block."""
    first = block * BLOCK_ROWS
    here = slice(max(start, first) - first, min(stop, first + BLOCK_ROWS) - first)
    num_users, num_items = (BLOCK_ROWS, 1) if side == "users" else (1, BLOCK_ROWS)
    with _seeded(seed, ROWS_STREAM, int(side == "users"), block):
        module = _built(family, settings, num_users, num_items, rating)
    return {name: module.get_parameter(name).detach()[here].clone() for name in tables_of(family, side)}


def _built(family: PairSource, settings: Any, num_users: int, num_items: int, rating: RatingStats) -> nn.Module:
    with torch.device("cpu"):
        return family.build(settings, num_users, num_items, rating)


@contextmanager
def _seeded(*key: int) -> Iterator[None]:
    """Seed torch's CPU generator by a key, and restore it afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0]))
        yield


def put(module: nn.Module, name: str, tensor: torch.Tensor, is_parameter: bool) -> None:
    """Replace a parameter or buffer by name; it may change its kind."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    delattr(owner, leaf)
    if is_parameter:
        owner.register_parameter(leaf, nn.Parameter(tensor))
    else:
        owner.register_buffer(leaf, tensor, persistent=False)
