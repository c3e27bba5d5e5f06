"""The tasks that workers run. Output names depend only on the arguments, so a task may run twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import RATINGS
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.inputs.sources import read_blocks
from recsys_dist.preparation.parsing.input_blocks import InputBlock
from recsys_dist.preparation.parsing.item_lines import LastItem, find_last_item
from recsys_dist.preparation.parsing.layout import TextLayout
from recsys_dist.preparation.parsing.parquet import parse_parquet
from recsys_dist.preparation.parsing.rows import ParsedBlock, parse_text
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards import growth, k_core, time_cutoffs
from recsys_dist.preparation.shards.gathered import ShardInfo
from recsys_dist.preparation.shards.growth import GrownInfo, KnownInfo, Part
from recsys_dist.preparation.shards.item_ids import merge_items, translate_items
from recsys_dist.preparation.shards.merging import DeduplicatedInfo, deduplicate_shard, gather_shard, split_shard
from recsys_dist.preparation.shards.runs import RunInfo, write_run
from recsys_dist.preparation.shards.splits import Cutoffs
from recsys_dist.preparation.shards.time_cutoffs import TimeSpan
from recsys_dist.preparation.shards.time_range import fit_run
from recsys_dist.preparation.shards.user_rows import Buckets, Source
from recsys_dist.preparation.shards.writing import (
    Extent,
    write_grown_item_shard,
    write_item_shard,
    write_user_shard,
)
from recsys_dist.storage.folder import FileRecord, Folder


def parse(scratch_url: str, block: InputBlock, config: PrepareConfig) -> list[RunInfo]:
    """Parse a block into one run, or into several if the file must be read sequentially."""
    scratch = Scratch(scratch_url)
    parsed = enumerate(parse_block(block, config))
    return [write_run(scratch, f"block-{block.number}-{part}", rows) for part, rows in parsed]


def parse_block(block: InputBlock, config: PrepareConfig) -> Iterator[ParsedBlock]:
    """Parse a block at once, or piece by piece if the file must be read sequentially."""
    timestamp_format, item = config.input.timestamp_format, block.item_above
    if block.layout is None:
        groups = range(block.start, block.stop)
        yield from parse_parquet(block.file, groups, config.input.columns, config.ratings, timestamp_format)
        return
    pieces = read_blocks(block.file, block.start, block.stop, config.input.block_bytes)
    for part, data in enumerate(pieces):
        is_first = block.start == 0 and part == 0
        parsed = parse_text(data, block.layout, config.ratings, is_first, item, timestamp_format)
        item = parsed.item_below
        yield parsed


def fit_times(scratch_url: str, info: RunInfo, ticks: int, config: PrepareConfig) -> RunInfo:
    """Reject rows of a run whose timestamps overflow; see `fit_run`."""
    return fit_run(Scratch(scratch_url), info, ticks, config)


def find_last(block: InputBlock) -> LastItem | None:
    """The last item named in a block, which only text can hold; see `find_last_item`."""
    if not isinstance(block.layout, TextLayout):
        return None
    return find_last_item(block.file, block.layout, block.start, block.stop)


def merge(scratch_url: str, sources: list[str], target: str) -> int:
    """Merge the item ids of several files; see `merge_items`."""
    return merge_items(Scratch(scratch_url), sources, target)


def translate(scratch_url: str, runs: list[str]) -> None:
    """Number the items of some runs; see `translate_items`."""
    translate_items(Scratch(scratch_url), runs)


def collect(scratch_url: str, shard: int, buckets: tuple[int, int], config: PrepareConfig) -> ShardInfo:
    """Build one user shard from the runs; see `gather_shard`."""
    return gather_shard(Scratch(scratch_url), shard, buckets, config)


def settle(scratch_url: str, name: str, buckets: tuple[int, int], config: PrepareConfig) -> DeduplicatedInfo:
    """Deduplicate the rows of some users for later stages; see `deduplicate_shard`."""
    return deduplicate_shard(Scratch(scratch_url), name, buckets, config)


def trim(scratch_url: str, source: Source, target: str, dropped: str | None, min_user: int) -> Buckets:
    """Drop users and items with too few ratings; see `k_core.trim`."""
    return k_core.trim(Scratch(scratch_url), source, target, dropped, min_user)


def sort_times(scratch_url: str, source: Source, target: str) -> TimeSpan:
    """Sort the timestamps of deduplicated rows; see `time_cutoffs.sort_times`."""
    return time_cutoffs.sort_times(Scratch(scratch_url), source, target)


def count_later(scratch_url: str, name: str, timestamps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count timestamps from given ones on; see `time_cutoffs.count_later`."""
    return time_cutoffs.count_later(Scratch(scratch_url), name, timestamps)


def split(
    scratch_url: str,
    shard: int,
    buckets: tuple[int, int],
    sources: list[Source],
    cut: Cutoffs | None,
    config: PrepareConfig,
) -> ShardInfo:
    """Build one user shard from deduplicated rows; see `split_shard`."""
    return split_shard(Scratch(scratch_url), shard, buckets, sources, cut, config)


def write_users(
    scratch_url: str, output_url: str, shard: int, extent: Extent, has_timestamps: bool
) -> list[FileRecord]:
    """Write the files of one user shard; see `write_user_shard`."""
    return write_user_shard(Scratch(scratch_url), Folder(output_url).expect(), shard, extent, has_timestamps)


def num_written(files: list[FileRecord]) -> int:
    """The number of ratings in the files of a user shard."""
    return sum(file.rows for file in files if file.name.startswith(RATINGS))


def find_known(scratch_url: str, base_url: str, run: str) -> KnownInfo:
    """Look up the users of one run in a dataset; see `growth.find_known`."""
    return growth.find_known(Scratch(scratch_url), Dataset.open(base_url), run)


def deduplicate_grown(scratch_url: str, base_url: str, part: Part, config: PrepareConfig) -> DeduplicatedInfo:
    """Deduplicate old and new ratings of one user shard; see `growth.deduplicate_grown`."""
    return growth.deduplicate_grown(Scratch(scratch_url), Dataset.open(base_url), part, config)


def finish_grown(
    scratch_url: str, base_url: str, part: Part, is_settled: bool, cut: Cutoffs | None, config: PrepareConfig
) -> GrownInfo:
    """Split one user shard, changed or not; see `growth.finish_grown`."""
    return growth.finish_grown(Scratch(scratch_url), Dataset.open(base_url), part, is_settled, cut, config)


def write_grown_items(
    scratch_url: str, base_url: str, shard: int, output_url: str, extent: Extent, touched: list[int]
) -> FileRecord:
    """Write the block of one changed item shard; see `write_grown_item_shard`."""
    output, base = Folder(output_url).expect(), Dataset.open(base_url)
    return write_grown_item_shard(Scratch(scratch_url), base, output, shard, extent, touched)


def write_items(scratch_url: str, output_url: str, shard: int, extent: Extent, num_user_shards: int) -> FileRecord:
    """Write the block of one item shard; see `write_item_shard`."""
    return write_item_shard(Scratch(scratch_url), Folder(output_url).expect(), shard, extent, num_user_shards)
