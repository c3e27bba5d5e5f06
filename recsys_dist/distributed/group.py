"""Collectives for small values: sums, flags, JSON, failures. At world size 1 each is the identity."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from recsys_dist.distributed.roll_call import explained
from recsys_dist.distributed.world import World
from recsys_dist.errors import RecsysDistError, SharedError, lack_of_memory, refusal

RowRanges = Sequence[tuple[int, int]]
ResultT = TypeVar("ResultT")


class Group:
    """The ranks of a run. All must call the same methods in the same order."""

    def __init__(self, world: World, timeout_s: float = 600.0) -> None:
        self.world = world
        self.timeout_s = timeout_s
        """How long ranks wait for each other."""
        self.received_bytes = 0
        """Bytes of tables that this rank has received from others; predicted by the formulas of the models."""
        self._received_beside = 0

    @property
    def received_in_all_bytes(self) -> int:
        """Bytes that this rank has received from others in all collectives, including small ones.

        Payload without headers, over the network or through shared memory.
        """
        return self.received_bytes + self._received_beside

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """All-reduce `tensor` in place, and return it."""
        self._received_beside += self._all_reduce_bytes(tensor.nbytes)
        return self._all_reduce(tensor)

    def any_rank(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank; the same result on every rank."""
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
        """Run `work` on this rank; if it fails on any rank, raise on all, with the rank and its reason.

        For work that may fail on some ranks only (a full disk, a damaged file) before a collective.
        """
        failure: str | None = None
        try:
            result = work()
        except (RecsysDistError, OSError, MemoryError, RuntimeError) as error:
            lack = lack_of_memory(error)
            if lack is None and isinstance(error, RuntimeError):
                raise
            message = refusal(error) if isinstance(error, OSError) else str(error)
            failure = lack or message or error.__class__.__name__
            if self.world.size == 1 and isinstance(error, RecsysDistError):
                raise
        failures: dict[str, list[str]] = {}
        for rank, reason in enumerate(self.gather_json(failure)):
            if reason is not None:
                failures.setdefault(reason, []).append(f"rank {rank}")
        if failures:
            raise SharedError(f"{doing} failed: " + "; ".join(self._told(*one) for one in failures.items()))
        return result

    def _told(self, reason: str, ranks: list[str]) -> str:
        """The reason with its ranks; without ranks if it is the same on all."""
        return reason if len(ranks) == self.world.size else f"{', '.join(ranks)}: {reason}"

    def require_same(self, facts: Mapping[str, str]) -> None:
        """Raise on every rank if any of `facts` differs between ranks; the message names the fact and ranks."""
        everyone = self.gather_json(dict(facts))
        for name in sorted({name for theirs in everyone for name in theirs}):
            values = [theirs.get(name) for theirs in everyone]
            if len(set(values)) > 1:
                listed = ", ".join(f"rank {rank} has {value}" for rank, value in enumerate(values))
                raise SharedError(f"the ranks differ in {name}: {listed}; start all ranks with the same")

    def _all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.world.size > 1:
            self._run("all_reduce", lambda: dist.all_reduce(tensor))
        return tensor

    def _all_reduce_bytes(self, num_bytes: int) -> int:
        """Bytes that a rank receives in a ring all-reduce of `num_bytes` bytes."""
        # One round of reduce-scatter, one of all-gather.
        return 2 * (self.world.size - 1) * num_bytes // self.world.size

    def _gather_beside(self, local_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        """`_gather` of small values, not counted as a table."""
        self._received_beside += (row_ranges[-1][1] - len(local_RX)) * row_bytes(local_RX)
        return self._gather(local_RX, row_ranges)

    def _gather(self, local_RX: torch.Tensor, row_ranges: RowRanges) -> torch.Tensor:
        if self.world.size == 1:
            return local_RX
        counts = [stop - start for start, stop in row_ranges]
        assert len(local_RX) == counts[self.world.rank], "a rank must bring exactly its own rows"
        share, num_rows = counts[0], sum(counts)
        if len(set(counts[:-1])) == 1 and 0 <= share - counts[-1] <= share // 8:
            # Equal shares, except that the last one may lack a few rows; the padding comes last.
            gathered = local_RX.new_empty((self.world.size * share, *local_RX.shape[1:]))
            own = gathered[self.world.rank * share :][:share]
            own[: len(local_RX)] = local_RX
            self._run("all_gather", lambda: dist.all_gather_single(gathered, own))
            return gathered[:num_rows]
        gathered = local_RX.new_empty((num_rows, *local_RX.shape[1:]))
        # Each owner broadcasts directly into the result, so that no rank needs more memory than that.
        for owner, part in enumerate(gathered.split(counts)):
            if owner == self.world.rank:
                part.copy_(local_RX)
            if len(part):
                self._run("broadcast", partial(dist.broadcast, part, owner))
        return gathered

    def _row_counts(self, count: int) -> list[tuple[int, int]]:
        """Row ranges of all ranks, if each rank has `count` rows of its own."""
        counts = torch.zeros(self.world.size, dtype=torch.int64, device=self.world.device)
        counts[self.world.rank] = count
        return ranges_of(self.sum_(counts).tolist())

    def _run(self, name: str, collective: Callable[[], Any]) -> None:
        with explained(name, self.world):
            collective()


def ranges_of(counts: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive ranges of so many rows each."""
    return list(itertools.pairwise([0, *itertools.accumulate(counts)]))


def row_bytes(table: torch.Tensor) -> int:
    """Bytes of one row."""
    return math.prod(table.shape[1:]) * table.element_size()
