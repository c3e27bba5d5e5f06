"""Collectives through shared memory for ranks on one machine, without sockets.

All-gather: each rank writes its rows into a shared block, and all ranks read the table there, so that a machine
holds it once. A block is reused when no rank has a tensor in it.

Reduce-scatter, piece by piece: each rank writes its partials for other ranks into its slot; after a barrier, each
rank adds up the partials for its own rows. Two sets of slots alternate, so one barrier per piece is enough.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import cycle
from pathlib import Path

import torch

from recsys_dist.distributed.group import Group, row_bytes

FOLDER = Path("/dev/shm")
SLOT_BYTES = 1 << 25
"""Size of all slots: half of a container's default shared memory, with pieces that fit the cache."""
LINE_BYTES = 64
"""Places in a slot are aligned to cache lines."""
LEAST_BYTES = 1 << 20
"""Least size of a table; smaller ones are faster through sockets."""
MOST_RANKS = 16
"""With more ranks, pieces become so small that barriers cost more than sockets."""


class Segment:
    """Shared memory of all ranks, and whether a tensor of this rank uses it."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._user: Callable[[], memoryview | None] = lambda: None

    @classmethod
    def create(cls, num_bytes: int, ranks: Group) -> Segment | None:
        """Create a segment on all ranks; None on all if they are not on one machine or memory is short."""
        with _new_file(num_bytes) if ranks.world.is_first else nullcontext() as created:
            path = ranks.gather_json(created)[0]
            memory = None if path is None else _mapped(path, num_bytes)
            return None if ranks.any_rank(memory is None) or memory is None else cls(memory)

    @property
    def in_use(self) -> bool:
        """Whether a tensor that `data` returned is alive."""
        return self._user() is not None

    def fits(self, num_bytes: int) -> bool:
        """Whether `num_bytes` bytes fit and use at least half of the segment."""
        return num_bytes <= len(self._memory) <= 2 * num_bytes

    def data(self, num_bytes: int) -> torch.Tensor:
        """The first `num_bytes` bytes as a uint8 tensor."""
        # Only the tensor's storage keeps the view alive.
        view = memoryview(self._memory)[:num_bytes]
        self._user = weakref.ref(view)
        return torch.frombuffer(view, dtype=torch.uint8)


class SharedMemory:
    """Blocks for tables, and the slots of all ranks."""

    def __init__(self, ranks: Group, slots: Segment) -> None:
        self._ranks, self._rank, size = ranks, ranks.world.rank, ranks.world.size
        # A slot has one place per destination rank.
        self._place_bytes = SLOT_BYTES // (2 * size * size * LINE_BYTES) * LINE_BYTES
        data = slots.data(2 * size * size * self._place_bytes)
        self._slot_sets: Iterator[torch.Tensor] = cycle(data.view(2, size, size, self._place_bytes))
        self._blocks: list[Segment] = []
        self._has_room = True

    @classmethod
    def open(cls, ranks: Group) -> SharedMemory | None:
        """Collective. None on all ranks if they are not on one machine or memory is short."""
        if ranks.world.device.type != "cpu" or ranks.world.size > MOST_RANKS:
            return None
        slots = Segment.create(SLOT_BYTES, ranks)
        return None if slots is None else cls(ranks, slots)

    def gathers(self, table: torch.Tensor, num_rows: int) -> bool:
        """Whether to gather a table of `num_rows` rows through shared memory; the same result on every rank."""
        return self._has_room and num_rows * row_bytes(table) >= LEAST_BYTES

    def gather(self, local_RX: torch.Tensor, counts: list[int]) -> torch.Tensor | None:
        """All-gather `counts[rank]` rows of each rank, read-only; None if memory is short."""
        num_bytes = sum(counts) * row_bytes(local_RX)
        block = self._free_block(num_bytes)
        if block is None:
            self._has_room = False
            return None
        gathered = block.data(num_bytes).view(local_RX.dtype).view(-1, *local_RX.shape[1:])
        gathered.split(counts)[self._rank].copy_(local_RX)
        self._wait()
        return gathered

    def _free_block(self, num_bytes: int) -> Segment | None:
        """A block that no rank uses, the same on all ranks; None if memory is short."""
        users = self._ranks.sum_(torch.tensor([0, *(block.in_use for block in self._blocks)])).tolist()[1:]
        for block, in_use in zip(self._blocks, users, strict=True):
            if not in_use and block.fits(num_bytes):
                return block
        created = Segment.create(num_bytes, self._ranks)
        if created is not None:
            self._blocks.append(created)
        return created

    def sums(self, table: torch.Tensor, num_rows: int) -> bool:
        """Whether to sum tables of `num_rows` rows through shared memory; the same result on every rank."""
        width = row_bytes(table)
        return num_rows * width >= LEAST_BYTES and width <= self._place_bytes

    def sum_at_owners(self, partial_RX: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Reduce-scatter: sum this rank's rows over ranks in rank order; `counts` are the rows of each owner."""
        owned = partial_RX.split(counts)
        total = torch.empty_like(owned[self._rank])
        step = self._place_bytes // row_bytes(partial_RX)
        for start, slots in zip(range(0, max(counts), step), self._slot_sets, strict=False):
            pieces = [rows[start : start + step] for rows in owned]
            for owner, (piece, place) in enumerate(zip(pieces, slots[self._rank], strict=True)):
                if owner != self._rank:
                    _like(piece, place).copy_(piece)
            self._wait()
            self._add_up(pieces[self._rank], slots[:, self._rank], total[start : start + step])
        return total

    def _add_up(self, own: torch.Tensor, places: torch.Tensor, total: torch.Tensor) -> None:
        first, second, *rest = (
            own if rank == self._rank else _like(own, place) for rank, place in enumerate(places)
        )
        torch.add(first, second, out=total)
        for part in rest:
            total += part

    def _wait(self) -> None:
        """Barrier of all ranks."""
        self._ranks.sum_(torch.zeros(1))


@contextmanager
def _new_file(num_bytes: int) -> Iterator[str | None]:
    """The path of a file in shared memory; None if there is no shared memory or not enough.

    The file is unlinked at the end, and stays available to the ranks that have opened it.
    """
    try:
        file, path = tempfile.mkstemp(prefix="recsys-dist-", dir=FOLDER)
    except OSError:
        yield None
        return
    try:
        yield path if _allocated(file, num_bytes) else None
    finally:
        os.close(file)
        Path(path).unlink()


def _allocated(file: int, num_bytes: int) -> bool:
    try:
        # Allocate now: touching pages that were only reserved would kill the process when memory is short.
        os.posix_fallocate(file, 0, num_bytes)
    except OSError:
        return False
    return True


def _mapped(path: str, num_bytes: int) -> mmap.mmap | None:
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        return mmap.mmap(file, num_bytes)
    except (OSError, ValueError):
        return None
    finally:
        os.close(file)


def _like(rows: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """The beginning of a place, viewed as rows of the same shape and dtype."""
    return place[: rows.numel() * rows.element_size()].view(rows.dtype).view(rows.shape)
