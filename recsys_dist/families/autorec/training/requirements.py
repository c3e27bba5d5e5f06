"""Whether the parameters of an AutoRec fit every rank, asked before anything is read or written.

    a rank needs   4 (C (H_first + H_last + 1) + ...) bytes for each copy of the parameters of its C columns
                   4 ((H_0 + 1) H_1 + ...) bytes for each copy of the layers between

What ratings, batches and gaps of the heap take beside them is not counted (a third as much with 500,000 columns of
256 hidden units): where only they do not fit, training/memory.py tells.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import NamedTuple

import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.optimizer import steps_by_blocks
from recsys_dist.families.autorec.training.search import AutorecSearch
from recsys_dist.families.autorec.training.shares import Shares, layer_bytes, parameter_bytes
from recsys_dist.families.tuning_holdout import can_judge
from recsys_dist.process.free_memory import free_bytes


class Room(NamedTuple):
    """What one rank has: its columns, and the bytes that it may still take; None where that is not known."""

    num_columns: int
    free: int | None


class Copies(NamedTuple):
    """How many times a rank holds its parameters: those of its columns, and those of the layers between."""

    columns: int
    layers: int

    def bytes_of(self, num_columns: int, settings: AutorecSettings) -> int:
        """What they take together."""
        of_layers = layer_bytes(settings)
        return self.columns * (parameter_bytes(num_columns, settings) - of_layers) + self.layers * of_layers


KEPT = {
    "adam": Copies(columns=3, layers=3),
    "rowwise_rmsprop": Copies(columns=1, layers=3),
    "rprop": Copies(columns=3, layers=3),
    "lbfgs": Copies(columns=29, layers=29),
}
"""The parameters themselves, and what the optimizer keeps of each. L-BFGS: 20 of past steps, the direction, the
point evaluated last, the gradient as one vector, now and before, and a point and three gradients of its line
search."""


def require_room(
    dataset: Dataset, settings: AutorecSettings, epochs: int, memory_limit: int | None, collectives: Collectives
) -> None:
    """Raise the same `ConfigError` on all ranks where one cannot hold its parameters; it names what would fit."""
    world = collectives.world
    shares = Shares.of(dataset, settings, world.rank, world.size)
    own = Room(shares.columns[1] - shares.columns[0], free_bytes(world.device, memory_limit))
    rooms = [Room(*room) for room in collectives.gather_json(own)]
    is_searching = AutorecSearch.start(settings, epochs, can_judge(dataset.manifest)).is_searching
    by_blocks = steps_by_blocks(settings, shares.sums_gradients, world.device)
    copies = num_copies(settings, shares.sums_gradients, is_searching, by_blocks)
    for rank, room in enumerate(rooms):
        if not _fits(room, settings, copies):
            raise ConfigError(_refusal(rank, rooms, settings, copies, shares.is_sharded, memory_limit))


def num_copies(settings: AutorecSettings, is_summed: bool, is_searching: bool, by_blocks: bool) -> Copies:
    """`is_summed`: gradients, over ranks; `by_blocks`: without those of all columns."""
    # Trials of settings begin from one start, which is kept.
    kept = Copies(*(copies + is_searching for copies in KEPT[settings.optimizer]))
    # Gradients of a batch lie beside those that they are added to, or travel in.
    gradients = 1 + (settings.optimizer == "rprop" or settings.accumulation > 1 or is_summed)
    # In another precision their values and gradients are there as well, each half as wide.
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
    assert free is not None, "a rank of unknown room is not refused"
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
        f"on rank {rank} for the parameters of {columns:,} columns, {copies.columns} times over, and "
        f"{bound}; {fits}, or use {elsewhere}"
    )


def _told(hidden: tuple[int, ...]) -> str:
    return str(hidden[0] if len(hidden) == 1 else list(hidden))


def _most_hidden(rooms: Sequence[Room], settings: AutorecSettings, copies: Copies) -> str:
    """The most units that fit all ranks, of several layers in proportion; empty: not even one."""
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
    """Whether the processor of `device` multiplies in bfloat16."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if platform.machine() in {"x86_64", "AMD64"}:
        return bool(torch.cpu._is_avx512_bf16_supported())
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def require_bfloat16(collectives: Collectives) -> None:
    """Raise the same `ConfigError` on all ranks where the processor of one has none."""
    lacks = [not has for has in collectives.gather_json(has_bfloat16(collectives.world.device))]
    if any(lacks):
        raise ConfigError(
            f"model.compute: the {collectives.world.device.type} of rank {lacks.index(True)} has no arithmetic in "
            "bfloat16, which would be slower than float32; set float32"
        )
