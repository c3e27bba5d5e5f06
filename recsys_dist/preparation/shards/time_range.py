"""Rejects rows whose timestamps overflow at the resolution that other rows need, before runs are merged.

The year 9999 fits into 64-bit microseconds, but nanoseconds end in the year 2262.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.preparation.arrays.scratch import Scratch, unpack_texts, wide_ratings
from recsys_dist.preparation.parsing.rejects import Reason, Rejects
from recsys_dist.preparation.parsing.rows import ParsedBlock, Rows
from recsys_dist.preparation.parsing.timestamps import Moments
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.runs import RunInfo, write_run


def fit_run(scratch: Scratch, info: RunInfo, ticks: int, config: PrepareConfig) -> RunInfo:
    """Write a copy of a run in which rows that overflow are moved to the rejects."""
    rows = _load_rows(scratch, info.name)
    assert rows.timestamp is not None, "a run without timestamps cannot overflow"
    is_fit = Moments(rows.timestamp).fits(ticks)
    far = _take(rows, np.flatnonzero(~is_fit))
    parts = zip(far.line.tolist(), far.user.to_pylist(), far.item.to_pylist(), far.rating.tolist(), strict=True)
    num_fields = 3 if config.has_ratings else 2
    refused = [
        (line, int(Reason.TIME_RANGE), config.input.separator.join((user, item, f"{rating:g}")[:num_fields]))
        for line, user, item, rating in parts
    ]
    if info.rejected:
        known = Rejects.from_arrays(scratch.load(f"{info.name}.rejects"))
        refused += zip(known.line.tolist(), known.reason.tolist(), known.text.to_pylist(), strict=True)
    block = ParsedBlock(_take(rows, np.flatnonzero(is_fit)), Rejects.of(refused), info.num_lines)
    return write_run(scratch, f"{info.name}-fit", block)


def _load_rows(scratch: Scratch, run: str) -> Rows:
    """The rows of a run, sorted by line."""
    arrays = scratch.load(f"{run}.run")
    user = np.repeat(np.arange(len(arrays["user.hash"])), np.diff(arrays["user.start"]))
    rows = Rows(
        pa.DictionaryArray.from_arrays(pa.array(user, pa.int32()), unpack_texts("user", arrays)),
        pa.DictionaryArray.from_arrays(pa.array(arrays["row.item"], pa.int32()), unpack_texts("item", arrays)),
        wide_ratings(arrays["row.rating"]),
        arrays["row.timestamp"].astype(np.int64),
        arrays["row.line"].astype(np.int64),
        arrays.get("row.nanos"),
    )
    return _take(rows, np.argsort(rows.line))


def _take(rows: Rows, places: NDArray[np.int64]) -> Rows:
    assert rows.timestamp is not None
    moments = Moments(rows.timestamp, rows.nanos).take(places)
    user, item = rows.user.take(pa.array(places)), rows.item.take(pa.array(places))
    return Rows(user, item, rows.rating[places], moments.whole, rows.line[places], moments.nanos)
