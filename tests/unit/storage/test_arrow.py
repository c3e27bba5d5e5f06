"""Arrow reads in the calling thread: a thread of its own may end a process by SIGABRT after its work is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from recsys_dist.storage.arrow import own_memory, read_parquet
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset

ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
READ_EVERYTHING = """
import os, sys
import pyarrow.csv, torch
import recsys_dist.cli.commands, recsys_dist.inference.all_users, recsys_dist.evaluation.evaluate
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, SPLITS
from recsys_dist import load_model
from recsys_dist.cli import main

threads = lambda: len(os.listdir("/proc/self/task"))
before = threads()
dataset = Dataset.open(sys.argv[1])
for side in SIDES:
    list(dataset.id_batches(side)), dataset.ids(side), dataset.num_train(side)
for split in SPLITS:
    dataset.timed_ratings(split, 0)
model = load_model(sys.argv[2])
model.predict("u1", "i1"), model.recommend("u1", 3)
try:
    main(["evaluate", sys.argv[2], "--dataset", sys.argv[1]])
except SystemExit as end:
    print("exit", end.code or 0, "new threads", threads() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_reading_datasets_and_models_starts_no_thread(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")
    write_merged(mf_run(dataset), dataset, tmp_path / "model")

    program = [sys.executable, "-c", READ_EVERYTHING, str(tmp_path / "dataset"), str(tmp_path / "model")]
    ended = subprocess.run(
        program, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, check=True, timeout=120
    )

    assert ended.stdout.splitlines()[-1] == "exit 0 new threads 0"


def test_a_missing_column_is_named(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")
    path = tmp_path / "dataset" / dataset.id_file("users").name

    assert read_parquet(path, ["user_id"]).column_names == ["user_id"]
    assert read_parquet(path.read_bytes()).equals(read_parquet(path))
    with pytest.raises(pa.ArrowKeyError, match="no column 'age'"):
        read_parquet(path, ["user_id", "age"])


@pytest.mark.parametrize("data", [b"", b"a,b\n"])
def test_memory_of_arrow_holds_the_same_bytes(data):
    assert own_memory(data).to_pybytes() == data
