"""Writes the dataset files that span shards: user and item tables, rejected rows, and the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import JsonValue

from recsys_dist.dataset.manifest import (
    FEEDBACK_RULE,
    INTERACTIONS,
    SPLITS,
    TICKS_RULE,
    Ancestor,
    Manifest,
    RatingStats,
    RowCounts,
    Shard,
    SplitInfo,
)
from recsys_dist.dataset.tables import REJECTS_SCHEMA, id_schema, write_table
from recsys_dist.preparation.arrays.scratch import Scratch, unpack_texts
from recsys_dist.preparation.parsing.rejects import Reason, Rejects
from recsys_dist.preparation.parsing.titles import find_titles
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.gathered import ShardInfo, split_fingerprint
from recsys_dist.preparation.shards.item_ids import all_item_ids
from recsys_dist.preparation.shards.runs import RunInfo
from recsys_dist.preparation.shards.splits import Cutoffs, describe
from recsys_dist.preparation.shards.user_rows import RUN_LINES, Run
from recsys_dist.storage.folder import FileRecord, Folder


def manifest_of(
    config: PrepareConfig,
    shards: Sequence[ShardInfo],
    cutoffs: Cutoffs | None,
    sides: tuple[Sequence[Shard], Sequence[Shard]],
    num_read: int,
    rejected: Counter[str],
    files: Sequence[FileRecord],
    grown_from: tuple[Ancestor, ...] = (),
    ticks: int = 1,
) -> Manifest:
    """The manifest of a dataset; `sides` are its user and item shards, `ticks` the timestamps' ticks per unit."""
    user_shards, item_shards = sides
    num_ratings = {split: sum(shard.num_ratings[split] for shard in shards) for split in SPLITS}
    return Manifest(
        num_users=user_shards[-1].stop,
        num_items=item_shards[-1].stop,
        num_ratings=num_ratings,
        rating=RatingStats.of(config.ratings.min, config.ratings.max, shards),
        rows=RowCounts(read=num_read, kept=sum(num_ratings.values()), rejected=dict(rejected)),
        split=SplitInfo(rule=describe(config.split, cutoffs), fingerprint=split_fingerprint(shards)),
        rules={**rules_of(config), **({TICKS_RULE: ticks} if ticks > 1 else {})},
        grown_from=grown_from,
        user_shards=tuple(user_shards),
        item_shards=tuple(item_shards),
        files=tuple(files),
    )


def rules_of(config: PrepareConfig) -> dict[str, JsonValue]:
    """The settings that decide which ratings are kept and how they are split, regardless of the input files."""
    ratings = config.ratings.model_dump(mode="json", exclude={"max_rejected"})
    split = config.split.model_dump(mode="json")
    if config.split.kind == "files":
        split = describe(config.split)
    tree = {"ratings": ratings, "split": split}
    rules = {f"{part}.{key}": value for part, settings in tree.items() for key, value in settings.items()}
    if not config.has_ratings:
        rules[FEEDBACK_RULE] = INTERACTIONS
    return {**rules, "input.columns.timestamp": config.input.columns.timestamp is not None}


def write_user_table(output: Folder, scratch: Scratch, num_shards: int) -> FileRecord:
    """Write users.parquet, shard by shard."""
    schema = id_schema("users")

    def parts() -> Iterator[pa.Table]:
        for shard in range(num_shards):
            arrays = scratch.load(f"shard-{shard}.users")
            ids = pc.cast(unpack_texts("user", arrays), pa.string())
            yield pa.table([ids, pa.array(arrays["user.num_train"])], schema=schema)

    return write_table(output, "users.parquet", schema, parts())


def write_item_table(
    output: Folder,
    scratch: Scratch,
    titles: pa.Table | None,
    by_popularity: NDArray[np.int64],
    num_train: NDArray[np.int64],
    known_titles: pa.Array | None = None,
) -> FileRecord:
    """Write items.parquet; `by_popularity` holds the item codes in order of item_index.

    `known_titles` are the existing titles of the first items, null if unknown; they are kept.
    """
    schema = id_schema("items")
    ids = all_item_ids(scratch).take(pa.array(by_popularity))
    found = pc.cast(find_titles(titles, ids), pa.string())
    if known_titles is not None:
        first = pc.coalesce(known_titles, found[: len(known_titles)])
        found = pa.concat_arrays([first, found[len(known_titles) :]])
    columns = [pc.cast(ids, pa.string()), found, pa.array(num_train[by_popularity])]
    return write_table(output, "items.parquet", schema, [pa.table(columns, schema=schema)])


def write_rejects(
    output: Folder,
    scratch: Scratch,
    runs: Sequence[Run],
    infos: Sequence[RunInfo],
    later: Sequence[str],
    first: int = 0,
) -> list[FileRecord]:
    """Write the rejected rows: one file per input file with rejects, then one per scratch file in `later`.

    `later` holds rows rejected after parsing. `infos` describe the input runs among `runs`. Files are numbered
    from `first`.
    """
    by_file: dict[str, list[Run]] = {}
    for run, info in zip((run for run in runs if not run.is_base), infos, strict=True):
        if info.rejected:
            by_file.setdefault(run.file, []).append(run)
    groups: list[Iterator[pa.Table]] = [map(partial(_of_run, scratch), group) for group in by_file.values()]
    groups += [map(partial(_of_shard, scratch, runs), [name]) for name in later]
    return [
        write_table(output, f"rejects/{number:05d}.parquet", REJECTS_SCHEMA, group)
        for number, group in enumerate(groups, start=first)
    ]


def _of_run(scratch: Scratch, run: Run) -> pa.Table:
    rejects = Rejects.from_arrays(scratch.load(f"{run.name}.rejects"))
    files = pa.array([run.file]).take(pa.array(np.zeros(len(rejects), np.int64)))
    return _table(files, rejects.line + run.first_line - 1, rejects)


def _of_shard(scratch: Scratch, runs: Sequence[Run], name: str) -> pa.Table:
    rejects = Rejects.from_arrays(scratch.load(name))
    run, line = np.divmod(rejects.line, RUN_LINES)
    return _table(pa.array([run.file for run in runs]).take(pa.array(run)), line, rejects)


def _table(files: pa.Array, lines: NDArray[np.int64], rejects: Rejects) -> pa.Table:
    labels = pa.array([reason.label for reason in Reason]).take(pa.array(rejects.reason))
    columns = [files, pa.array(lines), pc.cast(rejects.text, pa.string()), labels]
    return pa.table(columns, schema=REJECTS_SCHEMA)
