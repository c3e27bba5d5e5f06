"""Blocks: a damaged one is named, and thousands can be open at a time."""

from __future__ import annotations

import contextlib
import itertools
import resource
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_dist.dataset.blocks import Block, arrays_to_bytes, read_block, write_block
from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.parsing.layout import TextLayout
from recsys_dist.preparation.parsing.rows import parse_text
from recsys_dist.preparation.settings.prepare import PrepareConfig, RatingRules
from recsys_dist.preparation.shards.item_ids import merge_items, translate_items
from recsys_dist.preparation.shards.merging import RUNS, gather_shard
from recsys_dist.preparation.shards.runs import NUM_BUCKETS, write_run
from recsys_dist.preparation.shards.user_rows import Run
from recsys_dist.storage.folder import Folder

SOUND = Block(
    5, np.array([0, 2, 2, 3], np.int64), np.array([0, 7, 3], np.int32), np.array([1.0, 2.0, 3.0], np.float32)
)


@contextlib.contextmanager
def few_descriptors(more: int) -> Iterator[None]:
    """No more than so many descriptors beside those now open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(entry.name) for entry in Path("/proc/self/fd").iterdir()}
    # The limit is on the numbers of descriptors, of which each new one gets the lowest free.
    free = (number for number in itertools.count() if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, more, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "changes",
    [
        {"indptr": np.array([1, 2, 2, 3])},
        {"indptr": np.array([0, 2, 1, 3])},
        {"indptr": np.array([0, 2**62, -(2**62), 3])},
        {"indices": np.array([0, 8, 3], np.int32)},
        {"indices": np.array([0, -1, 3], np.int32)},
        {"indices": np.array([0, 7], np.int32)},
        {"indices": np.array([0, 7, 3], np.float32)},
    ],
)
def test_a_block_whose_entries_form_no_rows_is_damaged(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = Folder(str(tmp_path))
    record = write_block(folder, "a.safetensors", replace(SOUND, **changes))
    with pytest.raises(DataError, match=r"a\.safetensors is damaged"):
        read_block(folder, record, start=5, num_rows=3, num_columns=8)


@pytest.mark.parametrize(
    "data", [b"", b"\2\0\0\0\0\0\0\0[]", arrays_to_bytes({"indptr": SOUND.indptr}), b"\xff" * 40]
)
def test_a_file_that_is_no_block_is_named(tmp_path: Path, data: bytes) -> None:
    folder = Folder(str(tmp_path))
    record = folder.write_bytes("a.safetensors", data, rows=3)
    with pytest.raises(DataError, match=r"a\.safetensors is not a block file"):
        read_block(folder, record, start=5, num_rows=3, num_columns=8)


def test_mapped_blocks_keep_no_descriptor(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    record = write_block(folder, "a.safetensors", SOUND)
    with few_descriptors(8):
        blocks = [read_block(folder, record, start=5, num_rows=3, num_columns=8) for _ in range(100)]
    assert all(block.indices.tolist() == [0, 7, 3] for block in blocks)


def test_a_shard_is_collected_from_more_runs_than_descriptors(tmp_path: Path) -> None:
    scratch, names = Scratch(str(tmp_path)), [f"block-{number}-0" for number in range(100)]
    shape = TextLayout(",", None, "utf-8", False, 3, {"user": 0, "item": 1, "rating": 2})
    for number, name in enumerate(names):
        rows = f"u{number % 7},i{number},3\nu{number % 5},i0,4\n".encode()
        write_run(scratch, name, parse_text(rows, shape, RatingRules(), False))
    scratch.save_json(RUNS, [asdict(Run(name, "a.csv", 1, 0)) for name in names])
    merge_items(scratch, [f"{name}.run" for name in names], "items.ids")
    translate_items(scratch, names[:3])
    translate_items(scratch, names[3:])
    tree = {"input": {"paths": "a.csv", "columns": {"user": "u", "item": "i", "rating": "r"}}, "output": "out"}
    with few_descriptors(16):
        info = gather_shard(scratch, 0, (0, NUM_BUCKETS), PrepareConfig.model_validate(tree))
    assert info.num_users == 7
    assert sum(info.num_ratings.values()) == 104
    assert info.rejected == Counter({"duplicate": 96})
