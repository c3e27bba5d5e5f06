"""Dask workers as Slurm jobs, through dask-jobqueue (extra `slurm`).

The scheduler runs in this process and listens on `cluster.slurm.host`, since the workers are on other nodes. It
accepts only TLS, with certificates created for this cluster. Workers read them from a folder private to this user.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.security import Security

from recsys_dist.errors import BrokenOffError, ConfigError
from recsys_dist.extras import how_to_install
from recsys_dist.preparation.settings.prepare import ClusterSettings

ANSWER_TIMEOUT_S = 10


@contextmanager
def slurm_client(settings: ClusterSettings, dashboard: str) -> Iterator[Any]:
    """A client whose workers are Slurm jobs; they are cancelled at the end.

    Raises `ConfigError` if Slurm or dask-jobqueue is missing or no controller answers, and `BrokenOffError` if no
    job starts in time.
    """
    cluster_type, slurm = _cluster_type(), settings.slurm
    assert slurm is not None, "kind: slurm implies the section slurm"
    _require_slurm()
    # The submission folder is shared with the nodes.
    with tempfile.TemporaryDirectory(prefix=".recsys-dist-", dir=Path.cwd(), ignore_cleanup_errors=True) as folder:
        options = {
            "cores": 1,
            "processes": 1,
            "memory": f"{settings.memory_limit}B",
            "queue": slurm.partition,
            "account": slurm.account,
            "walltime": slurm.walltime,
            "job_extra_directives": list(slurm.directives),
            "protocol": "tls://",
            "security": _certificates(Path(folder)),
            "shared_temp_directory": folder,
            "log_directory": folder,
            "local_directory": None,
            "python": sys.executable,
            "scheduler_options": {"host": slurm.host, "dashboard_address": dashboard},
        }
        with cluster_type(**options) as cluster, Client(cluster) as client:
            cluster.scale(jobs=settings.workers)
            try:
                client.wait_for_workers(1, timeout=slurm.start_timeout_s)
            except TimeoutError as error:
                raise BrokenOffError(
                    f"cluster.kind: slurm: no worker started within {slurm.start_timeout_s:g} s "
                    f"(cluster.slurm.start_timeout_s): {_states(cluster)}"
                ) from error
            yield client


def _states(cluster: Any) -> str:
    """The states of a cluster's jobs, from squeue."""
    jobs = [str(worker.job_id) for worker in cluster.workers.values() if getattr(worker, "job_id", None)]
    if not jobs:
        return "no job could be submitted"
    answer = _ask("squeue", "--noheader", "--states=all", f"--jobs={','.join(jobs)}", "--format=job %i is %T (%r)")
    return "; ".join(answer.stdout.splitlines()) or f"squeue does not list the jobs {', '.join(jobs)}"


def _certificates(folder: Path) -> Security:
    """Create certificates for one cluster, as files in `folder`, which is private to this user."""
    made = Security.temporary()
    files = {"ca.pem": made.tls_ca_file, "cert.pem": made.tls_scheduler_cert, "key.pem": made.tls_scheduler_key}
    for name, text in files.items():
        (folder / name).write_text(text)
    paths = {"tls_ca_file": str(folder / "ca.pem")}
    for role in ("scheduler", "worker", "client"):
        paths |= {f"tls_{role}_{part}": str(folder / f"{part}.pem") for part in ("cert", "key")}
    return Security(require_encryption=True, **paths)


def _cluster_type() -> Any:
    try:
        from dask_jobqueue.slurm import SLURMCluster  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError(f"cluster.kind: slurm needs the extra `slurm`: {how_to_install('slurm')}") from None
    return SLURMCluster


def _require_slurm() -> None:
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        raise ConfigError("cluster.kind: slurm: sbatch was not found; run this where jobs can be submitted")
    answer = _ask("sinfo")
    if answer.returncode:
        raise ConfigError(f"cluster.kind: slurm: {' '.join(answer.stderr.split())}")


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"cluster.kind: slurm: no controller answers within {ANSWER_TIMEOUT_S} s") from None
