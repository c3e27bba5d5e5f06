"""A real Slurm cluster on this machine's loopback: munged, slurmctld and two slurmd, in a folder of their own.

Needs root and the Debian packages slurm-wlm and munge. It ends exactly the daemons that it started. The two nodes
are one machine under two names, which is what a rendezvous between nodes needs to be tried for real.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DAEMONS = ("munged", "slurmctld", "slurmd")
CLIENTS = ("sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun")
NODES = ("node-a", "node-b")
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"}

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
MpiDefault=none
KillWait=60
MinJobAge=3600
JobRequeue=1
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory=1000 State=UNKNOWN"
)


def why_unavailable() -> str | None:
    """The reason why no cluster can be started here, or None."""
    missing = [name for name in (*DAEMONS, *CLIENTS) if shutil.which(name, path=_search_path()) is None]
    if missing:
        return f"needs the Debian packages slurm-wlm and munge (missing: {', '.join(missing)})"
    if os.geteuid() != 0:
        return "needs root to start slurmd and munged"
    return None


class SlurmCluster:
    """The running cluster, seen through Slurm's own commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(folder / "slurm.conf"),
            "PATH": _search_path(),
        }

    def command(self, *arguments: str, check: bool = True, **settings: Any) -> str:
        """Run one of Slurm's commands; `settings` join its environment."""
        done = subprocess.run(
            arguments,
            capture_output=True,
            text=True,
            env={**self.environment, **settings},
            cwd=REPOSITORY,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{' '.join(arguments)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def is_idle(self) -> bool:
        """Whether every node is up and without work."""
        states = self.command("sinfo", "--noheader", "--Node", "--format=%T", check=False).split()
        return states == ["idle"] * len(NODES)

    def submit(self, script: str, *arguments: str, options: tuple[str, ...] = (), **settings: Any) -> str:
        """Submit launch/slurm/`script`, its output to a file in the cluster's folder; returns the job's id."""
        log = f"--output={self.folder}/%x-%j.log"
        return self.command(
            "sbatch", "--parsable", log, *options, f"launch/slurm/{script}", *arguments, **settings
        )

    def job(self, job_id: str) -> dict[str, str]:
        """What `scontrol show job` says of a job: JobState, ExitCode, Restarts, ..."""
        text = self.command("scontrol", "show", "job", "--oneliner", job_id)
        return dict(field.split("=", 1) for field in text.split() if "=" in field)

    def wait_until(
        self, job_id: str, arrived: Callable[[dict[str, str]], bool], timeout_s: float = 120.0
    ) -> dict[str, str]:
        """Poll a job until `arrived` says so; fails with the job's log."""
        deadline = time.monotonic() + timeout_s
        while True:
            job = self.job(job_id)
            if arrived(job):
                return job
            if time.monotonic() > deadline or job["JobState"] in ENDED:
                raise AssertionError(f"job {job_id} is {job['JobState']}: {job}\n{self.log(job_id)}")
            time.sleep(0.2)

    def wait(self, job_id: str, timeout_s: float = 120.0) -> dict[str, str]:
        """Poll a job until it has ended, whichever way."""
        return self.wait_until(job_id, lambda job: job["JobState"] in ENDED, timeout_s)

    def wait_until_idle(self) -> None:
        """Wait until the last process of the last job has ended."""
        _poll(self.is_idle, "the end of all jobs", self.folder, timeout_s=90)

    def log(self, job_id: str) -> str:
        """All that the job has printed."""
        return "\n".join(path.read_text() for path in sorted(self.folder.glob(f"*-{job_id}.log")))


@contextmanager
def running_cluster(cpus_per_node: int = 4) -> Iterator[SlurmCluster]:
    """Start the daemons, wait until both nodes are idle, and end them again."""
    # munged runs as its own user, which cannot look into pytest's private folders.
    folder = Path(tempfile.mkdtemp(prefix="recsys-slurm-"))
    folder.chmod(0o755)
    with ExitStack() as cleanup:
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        _write_configuration(folder, cpus_per_node)
        cluster = SlurmCluster(folder)
        cleanup.callback(_end, _munged(folder))
        _poll((folder / "munge" / "socket").exists, "munged", folder)
        cleanup.callback(_end, _slurmctld(folder))
        for name in NODES:
            cleanup.callback(_end, _slurmd(folder, name))
        _poll(cluster.is_idle, "the nodes", folder)
        cleanup.callback(_cancel_all, cluster)
        yield cluster


def _write_configuration(folder: Path, cpus: int) -> None:
    (folder / "state").mkdir()
    host = socket.gethostname().split(".")[0]
    controller_port, *node_ports = _free_ports(1 + len(NODES))
    nodes = [
        NODE.format(name=name, host=host, port=port, cpus=cpus)
        for name, port in zip(NODES, node_ports, strict=True)
    ]
    text = CONFIGURATION.format(
        host=host, folder=folder, controller_port=controller_port, nodes="\n".join(nodes), names=",".join(NODES)
    )
    (folder / "slurm.conf").write_text(text)


def _munged(folder: Path) -> subprocess.Popen[bytes]:
    user = pwd.getpwnam("munge")
    home = folder / "munge"
    home.mkdir()
    (home / "key").write_bytes(os.urandom(128))
    (home / "key").chmod(0o400)
    for path in (home, home / "key"):
        os.chown(path, user.pw_uid, user.pw_gid)
    home.chmod(0o755)
    paths = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
    options = [f"--{option}={home / name}" for option, name in paths.items()]
    return _start(
        folder, ["munged", "--foreground", *options], user=user.pw_uid, group=user.pw_gid, extra_groups=[]
    )


def _slurmctld(folder: Path) -> subprocess.Popen[bytes]:
    return _start(folder, ["slurmctld", "-D", "-f", str(folder / "slurm.conf")])


def _slurmd(folder: Path, name: str) -> subprocess.Popen[bytes]:
    (folder / f"spool-{name}").mkdir()
    return _start(folder, ["slurmd", "-D", "-N", name, "-f", str(folder / "slurm.conf")])


def _start(folder: Path, command: list[str], **identity: Any) -> subprocess.Popen[bytes]:
    with (folder / f"{command[0]}.log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PATH": _search_path(), "SLURM_CONF": str(folder / "slurm.conf")},
            cwd="/",
            **identity,
        )


def _poll(ready: Callable[[], bool], what: str, folder: Path, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            logs = "\n".join(f"--- {path.name}\n{path.read_text()[-3000:]}" for path in folder.glob("*.log"))
            raise AssertionError(f"{what} did not come up within {timeout_s:.0f} s\n{logs}")
        time.sleep(0.1)


def _cancel_all(cluster: SlurmCluster) -> None:
    """End jobs that a failed test left, so that no process of theirs outlives the daemons."""
    cluster.command("scancel", "--signal=KILL", "--full", "--user=root", check=False)
    cluster.command("scancel", "--user=root", check=False)
    cluster.wait_until_idle()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
