"""Tables of the ranks of one machine in memory that they share: gathered once for all, summed without sockets.

Gathered rows: each rank writes its own into a block that all see, and the table is read where it lies, so that a
machine holds it once. A block is filled anew when no rank has a tensor in it any more.

Sums at owners go piece by piece: each rank puts what it has for others into its slot, all wait for all, and each
adds up what is meant for it. Two sets of slots take turns, so that one wait a piece is enough: whoever fills a set
again has waited for all since they emptied it.
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
"""Of all slots: half of what a container has of this memory by default, and pieces that stay in the cache."""
LINE_BYTES = 64
"""Places in a slot begin at cache lines."""
LEAST_BYTES = 1 << 20
"""Of a table: a smaller one is told at once through sockets."""
MOST_RANKS = 16
"""With more, the pieces are so small that the waits cost more than sockets."""


class Segment:
    """Memory that all ranks see, and whether a tensor of this one lies in it."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._user: Callable[[], memoryview | None] = lambda: None

    @classmethod
    def create(cls, num_bytes: int, ranks: Group) -> Segment | None:
        """One more, on all ranks; None on all where they are not on one machine, or it has no room."""
        with _new_file(num_bytes) if ranks.world.is_first else nullcontext() as created:
            path = ranks.gather_json(created)[0]
            memory = None if path is None else _mapped(path, num_bytes)
            return None if ranks.any_rank(memory is None) or memory is None else cls(memory)

    @property
    def in_use(self) -> bool:
        """Whether a tensor that `data` returned is alive."""
        return self._user() is not None

    def fits(self, num_bytes: int) -> bool:
        """Whether so much has room here, and does not waste most of it."""
        return num_bytes <= len(self._memory) <= 2 * num_bytes

    def data(self, num_bytes: int) -> torch.Tensor:
        """The beginning of it as bytes."""
        # The tensor's storage keeps the view alive, and nothing else does.
        view = memoryview(self._memory)[:num_bytes]
        self._user = weakref.ref(view)
        return torch.frombuffer(view, dtype=torch.uint8)


class SharedMemory:
    """Blocks for tables, and the slots of all ranks."""

    def __init__(self, ranks: Group, slots: Segment) -> None:
        self._ranks, self._rank, size = ranks, ranks.world.rank, ranks.world.size
        # A slot has a place for each rank that its rows may be meant for.
        self._place_bytes = SLOT_BYTES // (2 * size * size * LINE_BYTES) * LINE_BYTES
        data = slots.data(2 * size * size * self._place_bytes)
        self._slot_sets: Iterator[torch.Tensor] = cycle(data.view(2, size, size, self._place_bytes))
        self._blocks: list[Segment] = []
        self._has_room = True

    @classmethod
    def open(cls, ranks: Group) -> SharedMemory | None:
        """Entered by all ranks; None on all where they are not on one machine, or it has no room."""
        if ranks.world.device.type != "cpu" or ranks.world.size > MOST_RANKS:
            return None
        slots = Segment.create(SLOT_BYTES, ranks)
        return None if slots is None else cls(ranks, slots)

    def gathers(self, table: torch.Tensor, num_rows: int) -> bool:
        """Whether a table of so many rows of all ranks is gathered here; the same answer on every rank."""
        return self._has_room and num_rows * row_bytes(table) >= LEAST_BYTES

    def gather(self, local_RX: torch.Tensor, counts: list[int]) -> torch.Tensor | None:
        """Concatenate each rank's rows, `counts[rank]` of them, to be read only; None where memory has no room."""
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
        """A block that no rank uses, which is the same on all of them."""
        users = self._ranks.sum_(torch.tensor([0, *(block.in_use for block in self._blocks)])).tolist()[1:]
        for block, in_use in zip(self._blocks, users, strict=True):
            if not in_use and block.fits(num_bytes):
                return block
        created = Segment.create(num_bytes, self._ranks)
        if created is not None:
            self._blocks.append(created)
        return created

    def sums(self, table: torch.Tensor, num_rows: int) -> bool:
        """Whether a table of so many rows of each rank is summed here; the same answer on every rank."""
        width = row_bytes(table)
        return num_rows * width >= LEAST_BYTES and width <= self._place_bytes

    def sum_at_owners(self, partial_RX: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Sum over ranks the rows of this one, `counts[rank]` of each rank's partial, in rank order."""
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
        """For all ranks."""
        self._ranks.sum_(torch.zeros(1))


@contextmanager
def _new_file(num_bytes: int) -> Iterator[str | None]:
    """The path of a file in memory; None where there is no such memory or no room.

    The file loses its name at the end, and lives on for those who opened it.
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
        # Pages that are only promised would end the program when they are touched.
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
    """The beginning of a place as rows of the same shape and type."""
    return place[: rows.numel() * rows.element_size()].view(rows.dtype).view(rows.shape)
