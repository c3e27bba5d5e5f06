"""Free space on disks, credentials for S3, and the dataset and run folder that a training would use."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.doctor.finding import GIB, Finding, shown_size
from recsys_dist.doctor.versions import installed
from recsys_dist.errors import RecsysDistError, refusal
from recsys_dist.process.free_memory import free_bytes
from recsys_dist.storage.credentials import source_of_s3_credentials
from recsys_dist.storage.file_cache import VARIABLE, cache_folder
from recsys_dist.storage.filesystem import Filesystem
from recsys_dist.storage.holdings import Holding, holding

LEAST_BYTES = GIB // 10
GOOD_BYTES = 2 * GIB
BLOCKS = "blocks/"


def check_disks() -> Iterator[Finding]:
    """Free space in the working folder, for temporary files and for the cache."""
    yield _disk("disk here", Path.cwd(), "free space, or work elsewhere")
    yield _disk("disk for temporary files", Path(tempfile.gettempdir()), "set TMPDIR to a folder with free space")
    yield _disk("disk for the cache of URLs", cache_folder(), f"set {VARIABLE} to a folder with free space")


def _disk(subject: str, folder: Path, advice: str) -> Finding:
    """Free space in a folder, or where it would be created."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(there).free
    told = f"{folder}, free {shown_size(free)}"
    if not os.access(there, os.W_OK):
        return Finding("problem", subject, f"{folder} is not writable", advice)
    if free < GOOD_BYTES:
        return Finding("problem" if free < LEAST_BYTES else "note", subject, told, advice)
    return Finding("ok", subject, told)


def check_credentials() -> Iterator[Finding]:
    """Whether there are credentials for S3, and where."""
    source = source_of_s3_credentials()
    if source is not None:
        yield Finding("ok", "S3 credentials", f"found ({source})")
    elif installed("s3fs") is None:
        yield Finding("ok", "S3 credentials", "none, nor the extra s3")
    else:
        advice = "for s3:// set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        yield Finding("note", "S3 credentials", "none found", advice)


def check_dataset(url: str) -> Iterator[Finding]:
    """Whether a dataset can be read, and whether its train ratings fit the memory."""
    try:
        dataset = Dataset.open(url)
    except (RecsysDistError, OSError) as error:
        yield Finding("problem", "dataset", refusal(error) if isinstance(error, OSError) else str(error))
        return
    train, size = dataset.manifest.num_ratings.get("train", 0), sum(file.bytes for file in dataset.manifest.files)
    told = f"{url}: {train:,} train ratings of {dataset.num_users:,} users and {dataset.num_items:,} items"
    blocks = sum(file.bytes for file in dataset.manifest.files if file.name.startswith(BLOCKS))
    free = free_bytes(torch.device("cpu"), None)
    if free is not None and blocks > free:
        told += f", {shown_size(blocks)} in memory, which one process does not have"
        yield Finding("note", "dataset", told, "use more ranks on more hosts, or training.memory_limit")
    else:
        yield Finding("ok", "dataset", f"{told}, {shown_size(size)}")


def check_run_dir(url: str) -> Iterator[Finding]:
    """Whether a training can write to a run folder, and the space there."""
    try:
        found, fs = holding(url), Filesystem(url)
    except (RecsysDistError, OSError) as error:
        yield Finding("problem", "run_dir", refusal(error) if isinstance(error, OSError) else str(error))
        return
    if found not in {Holding.RUN, Holding.OTHER, Holding.NOTHING}:
        yield Finding("problem", "run_dir", f"{url} is {found.value}", "name another folder")
    elif fs.is_local:
        yield _disk("run_dir", Path(url), "free space, or name another folder")
    else:
        yield Finding("ok", "run_dir", f"{url} answers; writing was not tried")
