"""Tables told between the ranks of one machine through memory that they share, instead of sockets.

A table goes piece by piece: each rank puts its part of a piece into its slot, all wait for all, and each takes
what it needs from the slots of the others. Two sets of slots take turns, so that one wait a piece is enough:
whoever fills a set again has waited for all since they emptied it.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import torch

FOLDER = Path("/dev/shm")
TOTAL_BYTES = 1 << 25
"""Of all slots: half of what a container has of this memory by default, and pieces that stay in the cache."""
LINE_BYTES = 64
"""Slots begin at cache lines."""
LEAST_BYTES = 1 << 20
"""Of a table: a smaller one is told at once through sockets."""
MOST_RANKS = 16
"""With more, the pieces are so small that the waits cost more than sockets."""


class SharedMemory:
    """The slots of all ranks, and the copies in and out of them."""

    def __init__(self, memory: mmap.mmap, rank: int, size: int, wait: Callable[[], None]) -> None:
        """`memory` has `TOTAL_BYTES`; `wait` returns once every rank has called it."""
        self._rank, self._size, self._wait = rank, size, wait
        # A slot has a place for each rank that its rows may be meant for.
        self._place_bytes = TOTAL_BYTES // (2 * size * size * LINE_BYTES) * LINE_BYTES
        self._slot_bytes = size * self._place_bytes
        data = torch.frombuffer(memory, dtype=torch.uint8)
        slots = data[: 2 * size * self._slot_bytes].view(2, size, self._slot_bytes)
        self._sets: Iterator[torch.Tensor] = cycle(slots)

    @classmethod
    def opened(cls, path: str, rank: int, size: int, wait: Callable[[], None]) -> SharedMemory | None:
        """The memory of a file that one rank created; None where this one does not see it."""
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            return None
        try:
            return cls(mmap.mmap(file, TOTAL_BYTES), rank, size, wait)
        except (OSError, ValueError):
            return None
        finally:
            os.close(file)

    def suits(self, table: torch.Tensor, num_rows: int) -> bool:
        """Whether a table of so many rows of all ranks is worth it; the same answer on every rank."""
        width = row_bytes(table)
        return num_rows * width >= LEAST_BYTES and width <= self._place_bytes

    def gather(self, local_RX: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Concatenate each rank's rows, `counts[rank]` of them."""
        gathered = local_RX.new_empty((sum(counts), *local_RX.shape[1:]))
        owned = gathered.split(counts)
        owned[self._rank].copy_(local_RX)
        step = self._slot_bytes // row_bytes(local_RX)
        for start, slots in zip(range(0, max(counts), step), self._sets, strict=False):
            pieces = [rows[start : start + step] for rows in owned]
            _like(pieces[self._rank], slots[self._rank]).copy_(pieces[self._rank])
            self._wait()
            for rank, piece in enumerate(pieces):
                if rank != self._rank:
                    piece.copy_(_like(piece, slots[rank]))
        return gathered

    def sum_at_owners(self, partial_RX: torch.Tensor, counts: list[int]) -> torch.Tensor:
        """Sum over ranks the rows of this one, `counts[rank]` of each rank's partial, in rank order."""
        owned = partial_RX.split(counts)
        total = torch.empty_like(owned[self._rank])
        step = self._place_bytes // row_bytes(partial_RX)
        for start, slots in zip(range(0, max(counts), step), self._sets, strict=False):
            pieces = [rows[start : start + step] for rows in owned]
            for owner, (piece, place) in enumerate(
                zip(pieces, slots[self._rank].split(self._place_bytes), strict=True)
            ):
                if owner != self._rank:
                    _like(piece, place).copy_(piece)
            self._wait()
            self._add_up(pieces[self._rank], slots, total[start : start + step])
        return total

    def _add_up(self, own: torch.Tensor, slots: torch.Tensor, total: torch.Tensor) -> None:
        first, second, *rest = (
            own if rank == self._rank else _like(own, slot.split(self._place_bytes)[self._rank])
            for rank, slot in enumerate(slots)
        )
        torch.add(first, second, out=total)
        for part in rest:
            total += part


@contextmanager
def new_file() -> Iterator[str | None]:
    """The path of a file of `TOTAL_BYTES` in memory; None where there is no such memory or no room.

    The file loses its name at the end, and lives on for those who opened it.
    """
    try:
        file, path = tempfile.mkstemp(prefix="recsys-dist-", dir=FOLDER)
    except OSError:
        yield None
        return
    try:
        yield path if _has_room(file) else None
    finally:
        os.close(file)
        Path(path).unlink()


def _has_room(file: int) -> bool:
    try:
        # Pages that are only promised would end the program when they are touched.
        os.posix_fallocate(file, 0, TOTAL_BYTES)
    except OSError:
        return False
    return True


def _like(rows: torch.Tensor, slot: torch.Tensor) -> torch.Tensor:
    """The beginning of a slot as rows of the same shape and type."""
    return slot[: rows.numel() * rows.element_size()].view(rows.dtype).view(rows.shape)


def row_bytes(table: torch.Tensor) -> int:
    """Bytes of one row."""
    return math.prod(table.shape[1:]) * table.element_size()
