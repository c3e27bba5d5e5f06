"""Check that the parameters of an AutoRec fit on every rank, before anything is read or written.

    a rank needs   4 (C (H_first + H_last + 1) + ...) bytes for each copy of the parameters of its C columns
                   4 ((H_0 + 1) H_1 + ...) bytes for each copy of the layers between

The memory of ratings, batches and heap fragmentation is not counted (a third as much with 500,000 columns of 256
hidden units); if that does not fit, training/memory.py reports it.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import NamedTuple

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.optimizer import steps_by_blocks
from recsys_dist.families.autorec.training.search import AutorecSearch
from recsys_dist.families.autorec.training.shares import Shares, layer_bytes, parameter_bytes
from recsys_dist.families.tuning_holdout import can_judge
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.plan import PlanSetup


class Room(NamedTuple):
    """Columns of one rank, and its free bytes; None if unknown."""

    num_columns: int
    free: int | None


class Copies(NamedTuple):
    """Number of copies of a rank's parameters: of its columns, and of the layers between."""

    columns: int
    layers: int

    def bytes_of(self, num_columns: int, settings: AutorecSettings) -> int:
        """Bytes of all copies together."""
        of_layers = layer_bytes(settings)
        return self.columns * (parameter_bytes(num_columns, settings) - of_layers) + self.layers * of_layers


KEPT = {
    "adam": Copies(columns=3, layers=3),
    "rowwise_rmsprop": Copies(columns=1, layers=3),
    "rprop": Copies(columns=3, layers=3),
    "lbfgs": Copies(columns=29, layers=29),
}
"""Copies for the parameters and the optimizer state. L-BFGS: 20 of past steps, the direction, the point of the
last evaluation, the current and the previous gradient as one vector, and a point and three gradients of its line
search.
"""


def require_room(setup: TrainingSetup[AutorecSettings]) -> None:
    """Raise the same `ConfigError` on all ranks if a rank cannot hold its parameters; name the most that fits."""
    refusal = room_refusal(setup.planned())
    if refusal is not None:
        raise ConfigError(refusal)


def room_refusal(setup: PlanSetup[AutorecSettings]) -> str | None:
    """Which rank cannot hold its parameters, and the most that fits; None if all can."""
    settings = setup.settings
    all_shares = [Shares.of(setup.dataset, settings, rank, setup.num_ranks) for rank in range(setup.num_ranks)]
    rooms = [
        Room(shares.columns[1] - shares.columns[0], free)
        for shares, free in zip(all_shares, setup.free, strict=True)
    ]
    copies = copies_of(setup, all_shares[0])
    for rank, room in enumerate(rooms):
        if not _fits(room, settings, copies):
            return _refusal(rank, rooms, settings, copies, all_shares[0].is_sharded, setup.memory_limit)
    return None


def copies_of(setup: PlanSetup[AutorecSettings], shares: Shares) -> Copies:
    """Copies of the parameters in a training, the same on every rank."""
    settings = setup.settings
    is_searching = AutorecSearch.start(settings, setup.epochs, can_judge(setup.dataset.manifest)).is_searching
    by_blocks = steps_by_blocks(settings, shares.sums_gradients, setup.device)
    return num_copies(settings, shares.sums_gradients, is_searching, by_blocks)


def num_copies(settings: AutorecSettings, is_summed: bool, is_searching: bool, by_blocks: bool) -> Copies:
    """Copies during training. `is_summed`: ranks all-reduce gradients; `by_blocks`: see `steps_by_blocks`."""
    # Trials of settings keep a copy of their common start.
    kept = Copies(*(copies + is_searching for copies in KEPT[settings.optimizer]))
    # Gradients of a batch need a second copy to be accumulated or all-reduced.
    gradients = 1 + (settings.optimizer == "rprop" or settings.accumulation > 1 or is_summed)
    # bfloat16 adds a copy of values and one of gradients, each half as wide.
    rounded = settings.compute != "float32"
    return Copies(columns=kept.columns + (0 if by_blocks else gradients), layers=kept.layers + gradients + rounded)


def _fits(room: Room, settings: AutorecSettings, copies: Copies) -> bool:
    return room.free is None or copies.bytes_of(room.num_columns, settings) <= room.free


def _refusal(
    rank: int,
    rooms: Sequence[Room],
    settings: AutorecSettings,
    copies: Copies,
    is_sharded: bool,
    limit: int | None,
) -> str:
    columns, free = rooms[rank]
    assert free is not None, "a rank with unknown free memory is never refused"
    needed = copies.bytes_of(columns, settings)
    most = _most_hidden(rooms, settings, copies)
    fits = f"the most that fits is model.hidden: {most}" if most else "not even 1 unit fits"
    elsewhere = "more ranks" if is_sharded else "model.parallel: sharded on more ranks"
    if settings.optimizer == "lbfgs":
        elsewhere = "model.optimizer: adam"
    elif settings.optimizer == "adam":
        elsewhere = f"model.optimizer: rowwise_rmsprop, or {elsewhere}"
    room = f"{free / 1e9:.3g} GB"
    bound = f"training.memory_limit is {room}" if free == limit else f"{room} are free"
    return (
        f"model.hidden: {_told(settings.hidden)} with optimizer: {settings.optimizer} needs {needed / 1e9:.3g} GB "
        f"on rank {rank} for the parameters of {columns:,} columns, in {copies.columns} copies, but "
        f"{bound}; {fits}, or use {elsewhere}"
    )


def _told(hidden: tuple[int, ...]) -> str:
    return str(hidden[0] if len(hidden) == 1 else list(hidden))


def _most_hidden(rooms: Sequence[Room], settings: AutorecSettings, copies: Copies) -> str:
    """The most hidden units that fit on all ranks, in proportion for several layers; empty if not even 1 fits."""
    fits, too_many = 0, settings.hidden[0]
    while too_many - fits > 1:
        tried = (fits + too_many) // 2
        smaller = settings.model_copy(update={"hidden": _layers(settings, tried)})
        if all(_fits(room, smaller, copies) for room in rooms):
            fits = tried
        else:
            too_many = tried
    return _told(_layers(settings, fits)) if fits else ""


def _layers(settings: AutorecSettings, first: int) -> tuple[int, ...]:
    return tuple(max(1, units * first // settings.hidden[0]) for units in settings.hidden)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor of `device` supports bfloat16 arithmetic."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in {"x86_64", "AMD64"}:
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def require_bfloat16(collectives: Collectives) -> None:
    """Raise the same `ConfigError` on all ranks if the processor of a rank lacks bfloat16 arithmetic."""
    lacks = [not has for has in collectives.gather_json(has_bfloat16(collectives.world.device))]
    if any(lacks):
        raise ConfigError(
            f"model.compute: the {collectives.world.device.type} of rank {lacks.index(True)} has no bfloat16 "
            "arithmetic, so bfloat16 would be slower than float32; set float32"
        )
