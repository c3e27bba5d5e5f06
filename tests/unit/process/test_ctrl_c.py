"""Ctrl-C while modules load: 130 and not a word, whatever the module does with exceptions."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.process.ctrl_c import QuietCtrlC

ROOT = Path(__file__).resolve().parents[3]
DEADLINE_S = 60.0
ENTRIES = {
    "script": [str(Path(sys.executable).parent / "recsys-dist"), "train"],
    "module": [sys.executable, "-m", "recsys_dist", "train"],
    "file": [sys.executable, str(ROOT / "launch" / "train.py")],
}
SLOW = """
import os, time
from pathlib import Path
here = Path({folder!r})
(here / f"begun-{{os.getpid()}}").touch()
try:
    time.sleep({seconds})
except BaseException:
    raise ImportError("something else")
(here / f"loaded-{{os.getpid()}}").touch()
raise ImportError
"""


@contextmanager
def started(command: list[str], folder: Path, slow: str, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own, in which the module `slow` takes so many seconds to load."""
    modules = folder / "modules"
    modules.mkdir()
    (modules / f"{slow}.py").write_text(SLOW.format(folder=str(folder), seconds=seconds))
    environment = {**os.environ, "PYTHONPATH": f"{modules}:{ROOT}"}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=output, text=True, start_new_session=True
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("slow", ["typer", "yaml"], ids=["commands", "what_one_command_needs"])
def test_ctrl_c_while_modules_load_ends_quietly(tmp_path: Path, entry: str, slow: str) -> None:
    with started([*ENTRIES[entry], "--config", "mf"], tmp_path, slow, 600) as process:
        wait_for(lambda: any(tmp_path.glob("begun-*")))
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(DEADLINE_S)

    assert (code, (tmp_path / "output").read_text()) == (130, "")


def test_the_process_that_workers_are_forked_from_loads_on_and_is_quiet(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recsys_dist", "prepare", "--config", "prepare_csv", "output=o"]
    with started([*command, "input.paths=r.csv"], tmp_path, "distributed", 5) as process:
        wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 2)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(DEADLINE_S)
        # It ends by itself, with the program that it was for.
        wait_for(lambda: any(tmp_path.glob("loaded-*")))

    assert (code, (tmp_path / "output").read_text()) == (130, "")
    assert not (tmp_path / f"loaded-{process.pid}").exists()


@contextmanager
def ctrl_c_is(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def test_at_work_ctrl_c_clears_away_and_then_ends() -> None:
    cleared: list[str] = []
    with ExitStack() as work:
        work.enter_context(ctrl_c_is(signal.default_int_handler))
        ended = work.enter_context(pytest.raises(SystemExit))
        work.enter_context(QuietCtrlC())
        work.callback(cleared.append, "a folder")
        signal.raise_signal(signal.SIGINT)

    assert (ended.value.code, cleared) == (130, ["a folder"])


def test_an_import_of_a_program_with_child_processes_does_not_end_it_at_once(tmp_path, monkeypatch) -> None:
    (tmp_path / "interrupted_module.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("multiprocessing.active_children", lambda: ["a worker"])

    with ctrl_c_is(signal.default_int_handler), pytest.raises(SystemExit), QuietCtrlC():
        importlib.import_module("interrupted_module")


def test_what_is_ignored_stays_ignored() -> None:
    with ctrl_c_is(signal.SIG_IGN):
        with QuietCtrlC():
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
