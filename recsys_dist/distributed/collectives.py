"""All collectives of the program. At world size 1 each is the identity, so callers need no special case.

Ranks own consecutive ranges of a table's rows, `row_ranges[rank] = (start, stop)`; a range may be empty. The
backend computes only sums. Order-sensitive sums are gathered and added in the order of canonical blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.distributed as dist

from recsys_dist.distributed.group import Group, RowRanges, ranges_of, row_bytes
from recsys_dist.distributed.process_group import join, leave
from recsys_dist.distributed.shared_memory import SharedMemory
from recsys_dist.distributed.world import World

PIECE_BYTES = 1 << 26
"""Bytes that a rank receives at a time in a reduce-scatter."""


@contextmanager
def open_collectives(
    world: World, timeout_s: float = 600.0, init_method: str | None = None
) -> Iterator[Collectives]:
    """Join the process group of `world` and leave it at the end; a single process joins nothing.

    `init_method` is torch's rendezvous URL; None reads the variables that torchrun sets.
    """
    if world.size == 1:
        yield Collectives(world)
        return
    if world.device.type == "cuda":
        torch.cuda.set_device(world.device)
    join(world, timeout_s, init_method)
    try:
        collectives = Collectives(world, timeout_s)
        collectives.share_memory()
        yield collectives
    finally:
        leave(world, timeout_s)


class Collectives(Group):
    """The collectives of one run. All ranks must call the same ones in the same order."""

    def __init__(self, world: World, timeout_s: float = 600.0) -> None:
        super().__init__(world, timeout_s)
        self._shared: SharedMemory | None = None

    def share_memory(self) -> None:
        """Keep large tables in shared memory from now on, if all ranks are on one machine with enough of it."""
        self._shared = SharedMemory.open(self)

    def sum_table(self, table: torch.Tensor) -> torch.Tensor:
        """`sum_` of a table, counted in `received_bytes`."""
        self.count_all_reduce(table.nbytes)
        return self._all_reduce(table)

    def count_all_reduce(self, num_bytes: int) -> None:
        """Count the traffic of an all-reduce of `num_bytes` bytes that runs elsewhere."""
        self.received_bytes += self._all_reduce_bytes(num_bytes)

    def sum_blocks(self, local_BX: torch.Tensor, counts: Sequence[int] | None = None) -> torch.Tensor:
        """Sum partials [blocks of this rank, ...] over all blocks of all ranks, in block order.

        Ranks own consecutive ranges of blocks, so rank order is block order, and the result [...] has the same
        bits on any number of ranks. Summed in float64. `counts`: the blocks of each rank; None: the ranks tell
        each other.
        """
        ranges = self._row_counts(len(local_BX)) if counts is None else ranges_of(counts)
        all_BX = self._gather_beside(local_BX.double(), ranges)
        total = torch.zeros_like(all_BX[:1].sum(0))
        # One by one: the order of additions in sum() depends on the shape, and in a CUDA scan on its blocks.
        for block in all_BX:
            total += block
        return total

    def gather_rows(self, local_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        """All-gather rows: [local rows, ...] sharded -> [all rows, ...] replicated.

        Read-only: ranks on one machine may share a single copy.
        """
        num_rows = max(stop for _, stop in row_ranges) - min(start for start, _ in row_ranges)
        self._count(local_RX, num_rows - len(local_RX))
        if self._shared is not None and self._shared.gathers(local_RX, num_rows):
            table = self._shared.gather(local_RX, [stop - start for start, stop in row_ranges])
            if table is not None:
                return table
        return self._gather(local_RX, row_ranges)

    def sum_scatter_rows(self, partial_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        """Reduce-scatter by row ranges: sum [all rows, ...] over ranks and keep this rank's rows.

        Each owner receives one partial per rank and adds them in rank order, in pieces of bounded size.
        """
        if self.world.size == 1:
            return partial_RX
        counts = [stop - start for start, stop in row_ranges]
        assert len(partial_RX) == sum(counts), "the partial must cover the rows of all ranks"
        own = counts[self.world.rank]
        self._count(partial_RX, (self.world.size - 1) * own)
        if self._shared is not None and self._shared.sums(partial_RX, len(partial_RX)):
            return self._shared.sum_at_owners(partial_RX, counts)
        total = partial_RX.new_empty((own, *partial_RX.shape[1:]))
        step = max(1, PIECE_BYTES // max(1, row_bytes(partial_RX) * self.world.size))
        if step >= max(counts):
            # In one piece, without a copy.
            self._sum_at_owners(partial_RX.contiguous(), counts, total)
            return total
        for start in range(0, max(counts), step):
            parts = [owned[start : start + step] for owned in partial_RX.split(counts)]
            self._sum_at_owners(torch.cat(parts), list(map(len, parts)), total[start : start + step])
        return total

    def _sum_at_owners(self, sent: torch.Tensor, counts: list[int], total: torch.Tensor) -> None:
        """Send this rank's partial, with `counts` rows per owner; write the sum of its own rows to `total`."""
        own = len(total)
        received = sent.new_empty((self.world.size * own, *sent.shape[1:]))
        self._run("all_to_all", lambda: dist.all_to_all_single(received, sent, [own] * self.world.size, counts))
        first, second, *rest = received.view(self.world.size, *total.shape)
        torch.add(first, second, out=total)
        for part in rest:
            total += part

    def exchange_rows(self, sent_RX: torch.Tensor, sent: list[int], received: list[int]) -> torch.Tensor:
        """All-to-all: send rows, sorted by destination rank; returns the received rows, sorted by source rank."""
        if self.world.size == 1:
            return sent_RX
        come_RX = sent_RX.new_empty((sum(received), *sent_RX.shape[1:]))
        self._count(sent_RX, sum(received) - received[self.world.rank])
        self._run("all_to_all", lambda: dist.all_to_all_single(come_RX, sent_RX.contiguous(), received, sent))
        return come_RX

    def _count(self, table: torch.Tensor, num_rows: int) -> None:
        self.received_bytes += num_rows * row_bytes(table)
