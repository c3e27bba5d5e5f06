"""All checks, in the order in which they are shown."""

from __future__ import annotations

from collections.abc import Iterator

from recsys_dist.doctor.devices import check_gpus
from recsys_dist.doctor.finding import Finding
from recsys_dist.doctor.memory import check_memory, check_shared_memory
from recsys_dist.doctor.network import check_gloo
from recsys_dist.doctor.processor import check_cores, check_threads
from recsys_dist.doctor.storage import check_credentials, check_dataset, check_disks, check_run_dir
from recsys_dist.doctor.versions import check_extras, check_versions


def examine(dataset: str | None = None, run_dir: str | None = None) -> Iterator[Finding]:
    """Examine this machine and installation and, if given, a dataset and a run folder; each finding once known."""
    for check in (
        *(check_versions, check_extras, check_cores, check_threads, check_memory, check_shared_memory),
        *(check_gpus, check_disks, check_credentials),
    ):
        yield from check()
    if dataset is not None:
        yield from check_dataset(dataset)
    if run_dir is not None:
        yield from check_run_dir(run_dir)
    yield from check_gloo()
