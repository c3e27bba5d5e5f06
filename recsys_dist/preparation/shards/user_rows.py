"""The ratings of some users while they are prepared: users in order, and their rows with where each one stood.

Kept on scratch as `settled-N` where more has to be known of all shards before their splits are drawn. What falls
out meanwhile is marked beside it, in a drop reason for each row, and is left out when the rows are read back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.preparation.arrays.scratch import Arrays, Scratch, copy_texts, join_texts, pack_texts
from recsys_dist.preparation.parsing.rejects import Rejects
from recsys_dist.preparation.shards.runs import bucket_of

RUN_LINES = 1 << 40
"""More lines than one run can have."""
KEPT = -1
"""The drop reason of a row that stays; others are reasons."""


@dataclass(frozen=True)
class Run:
    """One run as the shards have to know it."""

    name: str
    file: str
    first_line: int
    """Line of the file, from 1, at which the run's block begins."""
    role: int
    """The split that the file is for, as a place in SPLITS."""
    ticks: int = 1
    """The parts of a unit in which the dataset keeps timestamps, the same for all runs."""

    @property
    def is_base(self) -> bool:
        """Whether these are no rows of the input but of the dataset that it is added to."""
        return self.name == ""


@dataclass(frozen=True)
class Source:
    """A file of settled rows, and the one that tells the drop reason of each; None where all are kept."""

    name: str
    drop_reasons: str | None = None


@dataclass(frozen=True)
class Buckets:
    """Hash ranges in which rows stand, and how many in each."""

    number: NDArray[np.int64]
    num_rows: NDArray[np.int64]


def count_buckets(hashes: NDArray[np.uint64], num_rows: NDArray[np.int64]) -> Buckets:
    """The hash ranges of users, from the hash of each and its number of rows."""
    number, place = np.unique(bucket_of(hashes), return_inverse=True)
    return Buckets(number, np.bincount(place, num_rows, len(number)).astype(np.int64))


@dataclass(frozen=True)
class Rows:
    """Rows in parallel arrays; `user` counts within the users at hand, `line` within the run."""

    user: NDArray[np.int64]
    item: NDArray[np.integer]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.integer]
    line: NDArray[np.integer]
    run: NDArray[np.integer]

    @property
    def origin(self) -> NDArray[np.int64]:
        """One number for run and line, in their order."""
        return self.run.astype(np.int64) * RUN_LINES + self.line

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """Some of them, by place or by mask."""
        return Rows(**{name: column[places] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Settled:
    """Users in order, and one row of each of their pairs, sorted by (user, item_code)."""

    ids: pa.LargeStringArray
    hashes: NDArray[np.uint64]
    rows: Rows

    @property
    def num_rows(self) -> NDArray[np.int64]:
        """Rows of each user."""
        return np.bincount(self.rows.user, minlength=len(self.ids))

    def save(self, scratch: Scratch, name: str) -> None:
        """Write them as the file `name`."""
        columns = {f"row.{column}": values for column, values in vars(self.rows).items() if column != "user"}
        users = {"user.hash": self.hashes, "user.start": np.concatenate([[0], np.cumsum(self.num_rows)])}
        scratch.save(name, {**pack_texts("user", self.ids), **users, **columns})

    @classmethod
    def load(cls, scratch: Scratch, name: str, buckets: tuple[int, int]) -> tuple[Settled, slice]:
        """Those whose hashes fall into the range of buckets, and the places of their rows in the file."""
        arrays = scratch.load(name)
        first, last = (int(edge) for edge in np.searchsorted(bucket_of(arrays["user.hash"]), buckets))
        starts = arrays["user.start"][first : last + 1]
        span = slice(int(starts[0]), int(starts[-1]))
        columns = {name[4:]: values[span].copy() for name, values in arrays.items() if name.startswith("row.")}
        rows = Rows(user=np.repeat(np.arange(last - first), np.diff(starts)), **columns)
        return cls(copy_texts("user", arrays, first, last), arrays["user.hash"][first:last].copy(), rows), span

    def keep(self, is_kept: NDArray[np.bool_]) -> Settled:
        """Only the rows of the mask, and the users who have any of them."""
        rows = self.rows.take(is_kept)
        has_any = np.bincount(rows.user, minlength=len(self.ids)) > 0
        user = (np.cumsum(has_any) - 1)[rows.user]
        ids = self.ids.filter(pa.array(has_any))
        return Settled(ids, self.hashes[has_any], Rows(**{**vars(rows), "user": user}))


def join_settled(parts: Sequence[Settled]) -> Settled:
    """Consecutive users as one."""
    starts = np.cumsum([0, *(len(part.ids) for part in parts)])
    columns: dict[str, Any] = {
        name: np.concatenate([vars(part.rows)[name] for part in parts]) for name in vars(parts[0].rows)
    }
    columns["user"] = np.concatenate(
        [part.rows.user + start for part, start in zip(parts, starts[:-1], strict=True)]
    )
    hashes = np.concatenate([part.hashes for part in parts])
    return Settled(join_texts([part.ids for part in parts]), hashes, Rows(**columns))


def row_users(arrays: Arrays) -> NDArray[np.int64]:
    """The user of each row of a file of settled rows, from 0."""
    starts = arrays["user.start"]
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def refuse_rows(
    rows: Rows,
    reason: NDArray[np.int8],
    user_ids: pa.LargeStringArray,
    item_ids: pa.LargeStringArray,
    runs: Sequence[Run],
    separator: str,
) -> Rejects:
    """Rows as rejects, their lines by run; the text is put together anew from the fields kept."""
    first_line = np.array([run.first_line for run in runs])
    origin = rows.origin + first_line[rows.run] - 1
    order = np.argsort(origin)
    text = pc.binary_join_element_wise(
        user_ids.take(pa.array(rows.user)),
        item_ids.take(pa.array(rows.item)),
        pc.cast(pa.array(rows.rating), pa.large_string()),
        pa.scalar(separator, pa.large_string()),
    )
    return Rejects(origin[order], reason[order], text.take(pa.array(order)))
