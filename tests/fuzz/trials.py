"""Commands tried on damaged files, each trial in a process of its own, and what must not come of it.

A command may end with 0, or with 2 and one line. A signal, a traceback, a hang, or a file outside the folders that
it was given is a fault.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from recsys_dist.cli import main
from recsys_dist.preparation import prepare as preparation
from recsys_dist.preparation.cluster import local_workers
from tests.support.calling_process import no_cluster

NEEDED = (
    *("recsys_dist.preparation.inspection.sniff", "recsys_dist.training.run", "recsys_dist.merging"),
    *("recsys_dist.evaluation.evaluate", "recsys_dist.inference.all_users", "recsys_dist.report.report"),
    *("pyarrow.csv", "recsys_dist.report.dataset.dataset_page", "recsys_dist.report.run.run_record"),
)
"""What the commands import, loaded once for all trials."""
MEMORY_BYTES = 6 << 30
LIBRARY_FRAME = re.compile(r'File ".*?(recsys_dist/\S+)", line (\d+)')


@dataclass(frozen=True)
class Fault:
    """What was wrong with one trial; faults of one `kind` have one cause."""

    trial: str
    kind: str
    output: str


def try_commands(
    trial: str, folder: Path, commands: Sequence[Sequence[str]], may_write: Sequence[str], deadline_s: float
) -> Fault | None:
    """Run commands one after the other within `folder`; those after one that fails are run all the same.

    `may_write` names the entries of `folder` that may be there afterwards and were not before.
    """
    before = set(os.listdir(folder))  # noqa: PTH208
    status, output = _run_apart(folder, commands, deadline_s)
    kind = _kind(status, output) or _strays(folder, before, may_write)
    return Fault(trial, kind, output) if kind is not None else None


def output_of(folder: Path, commands: Sequence[Sequence[str]], deadline_s: float) -> str:
    """What commands print, the same way."""
    return _run_apart(folder, commands, deadline_s)[1]


def _run_apart(folder: Path, commands: Sequence[Sequence[str]], deadline_s: float) -> tuple[int | None, str]:
    """The status of the process that runs the commands, and their output."""
    for module in NEEDED:
        import_module(module)
    log = folder.parent / f"{folder.name}.log"
    child = os.fork()
    if child == 0:
        _run(folder, commands, log, deadline_s)
    # The child's own alarm comes first, but to a call that no signal interrupts.
    status = _wait(child, 2 * deadline_s * len(commands))
    output = log.read_text(errors="replace") if log.exists() else ""
    log.unlink(missing_ok=True)
    return status, output


def _run(folder: Path, commands: Sequence[Sequence[str]], log: Path, deadline_s: float) -> None:
    """In the child: the commands, then the end without the interpreter's own."""
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    vars(preparation)["open_cluster"] = no_cluster
    local_workers.start_loading = lambda: None
    status = 0
    for command in commands:
        signal.setitimer(signal.ITIMER_REAL, deadline_s)
        status = max(status, _run_one(command))
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)


def _run_one(command: Sequence[str]) -> int:
    print("$", *command, file=sys.stderr, flush=True)
    try:
        main(command)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return 0 if code in {0, 2} else 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _wait(child: int, deadline_s: float) -> int | None:
    """The status that the child ended with; None where it had to be ended."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _kind(status: int | None, output: str) -> str | None:
    if status is None:
        return "hangs at " + output.rpartition("$ ")[2].split("\n")[0][:60]
    if os.WIFSIGNALED(status):
        return f"ends by {signal.Signals(os.WTERMSIG(status)).name}"
    if status == 0 and "Traceback" not in output:
        return None
    frames = LIBRARY_FRAME.findall(output)
    place = ":".join(frames[-1]) if frames else "no frame"
    error = [line for line in output.splitlines() if re.match(r"^[\w.]+(Error|Exception|Invalid|Warning)\b", line)]
    return f"{place} {error[-1][:100] if error else 'another exit code'}"


def _strays(folder: Path, before: set[str], may_write: Sequence[str]) -> str | None:
    strays = set(os.listdir(folder)) - before - set(may_write)  # noqa: PTH208
    strays |= {path.name for path in folder.parent.glob("*evil*")} | {
        path.name for path in Path("/tmp").glob("evil*")
    }
    return f"leaves {min(strays)}" if strays else None
