"""Intermediate form of ratings: users in order, and their rows with file and line of origin.

Rows are saved on scratch as `settled-N` if the split depends on all shards. Later stages do not rewrite them:
dropped rows get a drop reason in a second file and are skipped when the rows are loaded.
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
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.runs import bucket_of

RUN_LINES = 1 << 40
"""An upper bound on the lines of a run."""
KEPT = -1
"""The code of a row that is kept; other codes are drop reasons."""


@dataclass(frozen=True)
class Run:
    """One run of the input, or of the dataset that is appended to."""

    name: str
    file: str
    first_line: int
    """The first line of the run's block in the file, from 1."""
    role: int
    """The split of the file, as an index into SPLITS."""
    ticks: int = 1
    """Ticks per unit of the dataset's timestamps, the same for all runs."""

    @property
    def is_base(self) -> bool:
        """Whether the rows come from the dataset that is appended to, not from the input."""
        return self.name == ""


@dataclass(frozen=True)
class Source:
    """A file of deduplicated rows, and the file of their drop reasons; None if all are kept."""

    name: str
    drop_reasons: str | None = None


@dataclass(frozen=True)
class Buckets:
    """Non-empty hash ranges, and the number of rows in each."""

    number: NDArray[np.int64]
    num_rows: NDArray[np.int64]


def count_buckets(hashes: NDArray[np.uint64], num_rows: NDArray[np.int64]) -> Buckets:
    """Count rows per hash range, from the hash and number of rows of each user."""
    number, place = np.unique(bucket_of(hashes), return_inverse=True)
    return Buckets(number, np.bincount(place, num_rows, len(number)).astype(np.int64))


@dataclass(frozen=True)
class Rows:
    """Rows as parallel arrays; `user` is relative to the users at hand, `line` to the run."""

    user: NDArray[np.int64]
    item: NDArray[np.integer]
    rating: NDArray[np.float32]
    timestamp: NDArray[np.integer]
    line: NDArray[np.integer]
    run: NDArray[np.integer]

    @property
    def origin(self) -> NDArray[np.int64]:
        """Run and line as one integer, in input order."""
        return self.run.astype(np.int64) * RUN_LINES + self.line

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """Select rows by position or mask."""
        return Rows(**{name: column[places] for name, column in vars(self).items()})


@dataclass(frozen=True)
class Settled:
    """Users in order, with one row per pair, sorted by (user, item_code)."""

    ids: pa.LargeStringArray
    hashes: NDArray[np.uint64]
    rows: Rows

    @property
    def num_rows(self) -> NDArray[np.int64]:
        """Number of rows of each user."""
        return np.bincount(self.rows.user, minlength=len(self.ids))

    def save(self, scratch: Scratch, name: str) -> None:
        """Write users and rows as the file `name`."""
        columns = {f"row.{column}": values for column, values in vars(self.rows).items() if column != "user"}
        users = {"user.hash": self.hashes, "user.start": np.concatenate([[0], np.cumsum(self.num_rows)])}
        scratch.save(name, {**pack_texts("user", self.ids), **users, **columns})

    @classmethod
    def load(cls, scratch: Scratch, name: str, buckets: tuple[int, int]) -> tuple[Settled, slice]:
        """Load the users in a range of buckets; also return the slice of their rows in the file."""
        arrays = scratch.load(name)
        first, last = (int(edge) for edge in np.searchsorted(bucket_of(arrays["user.hash"]), buckets))
        starts = arrays["user.start"][first : last + 1]
        span = slice(int(starts[0]), int(starts[-1]))
        columns = {name[4:]: values[span].copy() for name, values in arrays.items() if name.startswith("row.")}
        rows = Rows(user=np.repeat(np.arange(last - first), np.diff(starts)), **columns)
        return cls(copy_texts("user", arrays, first, last), arrays["user.hash"][first:last].copy(), rows), span

    def keep(self, is_kept: NDArray[np.bool_]) -> Settled:
        """Select rows by mask, and drop users without rows."""
        rows = self.rows.take(is_kept)
        has_any = np.bincount(rows.user, minlength=len(self.ids)) > 0
        user = (np.cumsum(has_any) - 1)[rows.user]
        ids = self.ids.filter(pa.array(has_any))
        return Settled(ids, self.hashes[has_any], Rows(**{**vars(rows), "user": user}))


def join_settled(parts: Sequence[Settled]) -> Settled:
    """Concatenate consecutive users."""
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
    """The user of each row in a file of deduplicated rows, from 0."""
    starts = arrays["user.start"]
    return np.repeat(np.arange(len(starts) - 1), np.diff(starts))


def refuse_rows(
    rows: Rows,
    reason: NDArray[np.int8],
    user_ids: pa.LargeStringArray,
    item_ids: pa.LargeStringArray,
    runs: Sequence[Run],
    config: PrepareConfig,
) -> Rejects:
    """Convert rows to rejects, with `origin` as the line and a text rebuilt from the parsed fields."""
    first_line = np.array([run.first_line for run in runs])
    origin = rows.origin + first_line[rows.run] - 1
    order = np.argsort(origin)
    fields = [user_ids.take(pa.array(rows.user)), item_ids.take(pa.array(rows.item))]
    if config.has_ratings:
        fields.append(pc.cast(pa.array(rows.rating), pa.large_string()))
    text = pc.binary_join_element_wise(*fields, pa.scalar(config.input.separator, pa.large_string()))
    return Rejects(origin[order], reason[order], text.take(pa.array(order)))
