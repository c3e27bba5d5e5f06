"""Every collective of the program. At world size 1 each is the identity, so that nothing else branches.

Rows of a table are owned by ranks as consecutive ranges, `row_ranges[rank] = (start, stop)`; a range may be empty.
Only sums are asked of the backend. Order-sensitive sums are gathered and added in the order of canonical blocks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from recsys_dist.distributed.group import join, leave
from recsys_dist.distributed.roll_call import explained
from recsys_dist.distributed.shared_memory import SharedMemory, row_bytes
from recsys_dist.distributed.world import World
from recsys_dist.errors import RecsysDistError, TrainingError, lack_of_memory, refusal

RowRanges = Sequence[tuple[int, int]]
ResultT = TypeVar("ResultT")

PIECE_BYTES = 1 << 26
"""What a rank receives at a time when rows are summed at their owners."""


@contextmanager
def open_collectives(
    world: World, timeout_s: float = 600.0, init_method: str | None = None
) -> Iterator[Collectives]:
    """Join the process group of `world` and leave it at the end; a world of one joins nothing.

    `init_method` is torch's rendezvous URL; None means the variables that torchrun sets.
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


class Collectives:
    """The collectives of one run. All ranks must call the same ones in the same order."""

    def __init__(self, world: World, timeout_s: float = 600.0) -> None:
        self.world = world
        self.timeout_s = timeout_s
        """How long ranks wait for each other."""
        self.received_bytes = 0
        """What this rank has received from others of tables, so far: what formulas of the models tell."""
        self._received_beside = 0
        self._shared: SharedMemory | None = None

    def share_memory(self) -> None:
        """From here on keep large tables in memory that ranks share, if all are on one machine that has room."""
        self._shared = SharedMemory.open(self)

    @property
    def received_in_all_bytes(self) -> int:
        """What this rank has received from others in all collectives so far, small ones too.

        It is their payload, whether it came by network or through memory that ranks share: no headers.
        """
        return self.received_bytes + self._received_beside

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace `tensor` by its sum over all ranks, in place; returns it."""
        self._received_beside += self._all_reduce_bytes(tensor.nbytes)
        return self._all_reduce(tensor)

    def sum_table(self, table: torch.Tensor) -> torch.Tensor:
        """`sum_` of something large, which counts as a table."""
        self.count_all_reduce(table.nbytes)
        return self._all_reduce(table)

    def count_all_reduce(self, num_bytes: int) -> None:
        """Count a table of so many bytes that is summed over all ranks elsewhere."""
        self.received_bytes += self._all_reduce_bytes(num_bytes)

    def _all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.world.size > 1:
            self._run("all_reduce", lambda: dist.all_reduce(tensor))
        return tensor

    def _all_reduce_bytes(self, num_bytes: int) -> int:
        """What a rank receives where so many bytes are summed in a ring."""
        # Once around for the sums of each share, and once more to tell them.
        return 2 * (self.world.size - 1) * num_bytes // self.world.size

    def sum_blocks(self, local_BX: torch.Tensor) -> torch.Tensor:
        """Sum partials [blocks of this rank, ...] over all blocks of all ranks, in block order.

        Blocks belong to ranks as consecutive ranges, so rank order is block order, and the result [...] has the
        same bits on any number of ranks. Summed in float64.
        """
        all_BX = self._gather_beside(local_BX.double(), self._row_counts(len(local_BX)))
        total = torch.zeros_like(all_BX[:1].sum(0))
        # One after the other: sum() pairs its terms by the shape it meets, and a scan on CUDA by its blocks.
        for block in all_BX:
            total += block
        return total

    def gather_rows(self, local_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        """Concatenate each rank's rows: [local rows, ...] sharded -> [all rows, ...] on every rank.

        To be read only: ranks on one machine may have but one table between them.
        """
        num_rows = max(stop for _, stop in row_ranges) - min(start for start, _ in row_ranges)
        self._count(local_RX, num_rows - len(local_RX))
        if self._shared is not None and self._shared.gathers(local_RX, num_rows):
            table = self._shared.gather(local_RX, [stop - start for start, stop in row_ranges])
            if table is not None:
                return table
        return self._gather(local_RX, row_ranges)

    def _gather_beside(self, local_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        """`_gather` of something small."""
        self._received_beside += (row_ranges[-1][1] - len(local_RX)) * row_bytes(local_RX)
        return self._gather(local_RX, row_ranges)

    def _gather(self, local_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        if self.world.size == 1:
            return local_RX
        counts = [stop - start for start, stop in row_ranges]
        assert len(local_RX) == counts[self.world.rank], "a rank must bring exactly its own rows"
        share, num_rows = counts[0], sum(counts)
        if len(set(counts[:-1])) == 1 and 0 <= share - counts[-1] <= share // 8:
            # Equal shares, but that the last one may lack a few rows, which come to lie behind all others.
            gathered = local_RX.new_empty((self.world.size * share, *local_RX.shape[1:]))
            own = gathered[self.world.rank * share :][:share]
            own[: len(local_RX)] = local_RX
            self._run("all_gather", lambda: dist.all_gather_single(gathered, own))
            return gathered[:num_rows]
        gathered = local_RX.new_empty((num_rows, *local_RX.shape[1:]))
        # Each owner tells the others straight into their place: no rank holds more than the result.
        for owner, part in enumerate(gathered.split(counts)):
            if owner == self.world.rank:
                part.copy_(local_RX)
            if len(part):
                self._run("broadcast", partial(dist.broadcast, part, owner))
        return gathered

    def sum_scatter_rows(self, partial_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        """Sum [all rows, ...] over ranks and keep this rank's rows: reduce-scatter by row ranges.

        Each owner receives one partial per rank and adds them in rank order, by pieces of a bounded size.
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
            # All at once, and as it lies there.
            self._sum_at_owners(partial_RX.contiguous(), counts, total)
            return total
        for start in range(0, max(counts), step):
            parts = [owned[start : start + step] for owned in partial_RX.split(counts)]
            self._sum_at_owners(torch.cat(parts), list(map(len, parts)), total[start : start + step])
        return total

    def _sum_at_owners(self, sent: torch.Tensor, counts: list[int], total: torch.Tensor) -> None:
        """This rank's partial of `counts` rows of each owner -> `total`, the sum of its own over all ranks."""
        own = len(total)
        received = sent.new_empty((self.world.size * own, *sent.shape[1:]))
        self._run("all_to_all", lambda: dist.all_to_all_single(received, sent, [own] * self.world.size, counts))
        first, second, *rest = received.view(self.world.size, *total.shape)
        torch.add(first, second, out=total)
        for part in rest:
            total += part

    def exchange_rows(self, sent_RX: torch.Tensor, sent: list[int], received: list[int]) -> torch.Tensor:
        """Send rows, in the order of the ranks they go to; returns those that come, in the order of ranks."""
        if self.world.size == 1:
            return sent_RX
        come_RX = sent_RX.new_empty((sum(received), *sent_RX.shape[1:]))
        self._count(sent_RX, sum(received) - received[self.world.rank])
        self._run("all_to_all", lambda: dist.all_to_all_single(come_RX, sent_RX.contiguous(), received, sent))
        return come_RX

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank; the same answer everywhere."""
        count = torch.tensor(int(flag), dtype=torch.int64, device=self.world.device)
        return bool(self.sum_(count).item())

    def gather_json(self, value: Any) -> list[Any]:
        """Each rank's JSON-able value, in rank order, on every rank."""
        if self.world.size == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        data = data.to(self.world.device)
        ranges = self._row_counts(len(data))
        joined = bytes(self._gather_beside(data, ranges).cpu().numpy())
        return [json.loads(joined[start:stop]) for start, stop in ranges]

    def together(self, doing: str, work: Callable[[], ResultT]) -> ResultT:
        """Run `work` on this rank; where it fails on any rank, raise on all, naming the rank and its reason.

        For work that only some ranks may fail at (a full disk, a damaged file) before a collective that all enter.
        """
        failure: str | None = None
        try:
            result = work()
        except (RecsysDistError, OSError, MemoryError, RuntimeError) as error:
            lack = lack_of_memory(error)
            if lack is None and isinstance(error, RuntimeError):
                raise
            told = refusal(error) if isinstance(error, OSError) else str(error)
            failure = lack or told or error.__class__.__name__
            if self.world.size == 1 and isinstance(error, RecsysDistError):
                raise
        failures: dict[str, list[str]] = {}
        for rank, reason in enumerate(self.gather_json(failure)):
            if reason is not None:
                failures.setdefault(reason, []).append(f"rank {rank}")
        if failures:
            raise TrainingError(f"{doing} failed: " + "; ".join(self._told(*one) for one in failures.items()))
        return result

    def _told(self, reason: str, ranks: list[str]) -> str:
        """What all have met is no matter of ranks."""
        return reason if len(ranks) == self.world.size else f"{', '.join(ranks)}: {reason}"

    def require_same(self, facts: Mapping[str, str]) -> None:
        """Raise on every rank where any of `facts` differs between ranks, naming what and who."""
        everyone = self.gather_json(dict(facts))
        for name in sorted({name for theirs in everyone for name in theirs}):
            values = [theirs.get(name) for theirs in everyone]
            if len(set(values)) > 1:
                told = ", ".join(f"rank {rank} has {value}" for rank, value in enumerate(values))
                raise TrainingError(f"the ranks differ in {name}: {told}; start all of them from the same")

    def _row_counts(self, count: int) -> list[tuple[int, int]]:
        """Row ranges when each rank brings `count` rows."""
        counts = torch.zeros(self.world.size, dtype=torch.int64, device=self.world.device)
        counts[self.world.rank] = count
        stops = self.sum_(counts).cumsum(0).tolist()
        return list(zip([0, *stops[:-1]], stops, strict=True))

    def _count(self, table: torch.Tensor, num_rows: int) -> None:
        self.received_bytes += num_rows * row_bytes(table)

    def _run(self, name: str, collective: Callable[[], Any]) -> None:
        with explained(name, self.world):
            collective()
