"""Dask workers as jobs of Slurm, through dask-jobqueue (extra `slurm`).

The scheduler runs in this process and listens where `cluster.slurm.host` says, as the workers are on other nodes:
only over TLS, with certificates made for this one cluster, which reach the workers through a folder that nobody
else can read.
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
from recsys_dist.preparation.settings.prepare import ClusterSettings

ANSWER_TIMEOUT_S = 10


@contextmanager
def slurm_client(settings: ClusterSettings, dashboard: str) -> Iterator[Any]:
    """A client whose workers are jobs; they are cancelled at the end.

    Raises `ConfigError` where Slurm or dask-jobqueue is missing, or no controller answers, and `BrokenOffError`
    where no job starts in time.
    """
    cluster_type, slurm = _cluster_type(), settings.slurm
    assert slurm is not None, "the settings of a Slurm cluster hold its part"
    _require_slurm()
    # Batch systems share the folder that a job is submitted from.
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
                    f"cluster.kind: slurm: no worker has started within {slurm.start_timeout_s:g} s "
                    f"(cluster.slurm.start_timeout_s): {_states(cluster)}"
                ) from error
            yield client


def _states(cluster: Any) -> str:
    """What Slurm says of the jobs of a cluster."""
    jobs = [str(worker.job_id) for worker in cluster.workers.values() if getattr(worker, "job_id", None)]
    if not jobs:
        return "no job could be submitted"
    asked = _ask("squeue", "--noheader", "--states=all", f"--jobs={','.join(jobs)}", "--format=job %i is %T (%r)")
    return "; ".join(asked.stdout.splitlines()) or f"squeue knows nothing of the jobs {', '.join(jobs)}"


def _certificates(folder: Path) -> Security:
    """Certificates for one cluster, as files in a folder that is private to this user."""
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
        raise ConfigError(
            "cluster.kind: slurm needs the extra `slurm`: pip install 'recsys-dist[slurm]'"
        ) from None
    return SLURMCluster


def _require_slurm() -> None:
    if shutil.which("sbatch") is None or shutil.which("sinfo") is None:
        raise ConfigError("cluster.kind: slurm: there is no sbatch here; start this where jobs can be submitted")
    asked = _ask("sinfo")
    if asked.returncode:
        raise ConfigError(f"cluster.kind: slurm: {' '.join(asked.stderr.split())}")


def _ask(*command: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise ConfigError(f"cluster.kind: slurm: no controller answers within {ANSWER_TIMEOUT_S} s") from None
