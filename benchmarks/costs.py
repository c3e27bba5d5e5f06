"""Seconds, memory and disk of a command with all its processes."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.commands import ROOT

SAMPLE_S = 0.5
GIGABYTE = 1e9


@dataclass
class Costs:
    """What a command took."""

    seconds: float
    cpu_seconds: float
    """Of its processes, all cores together."""
    peak_gb: float
    disk_gb: float
    """The most that the folder held during the stage."""
    left_gb: float
    """What the folder holds after it."""

    def row(self, name: str) -> str:
        """A line of a table."""
        sizes = f"{self.peak_gb:.2f} | {self.disk_gb:.1f} | {self.left_gb:.1f}"
        return f"| {name} | {self.seconds:,.0f} | {self.cpu_seconds:,.0f} | {sizes} |"


class Watch:
    """The memory of a process and its children, and the size of a folder, at their peaks."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process, self._folder = process, folder
        self.memory = self.disk = 0
        self._cpu_seconds: dict[int, float] = {}
        self._threads = [
            threading.Thread(target=self._repeat, args=(look,), daemon=True)
            for look in (self._look_at_memory, self._look_at_disk)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of all processes that were seen."""
        return sum(self._cpu_seconds.values())

    def join(self) -> None:
        """Wait for the end of the process."""
        self._process.wait()
        for thread in self._threads:
            thread.join()

    def _repeat(self, look: Callable[[], None]) -> None:
        while self._process.poll() is None:
            look()
            time.sleep(SAMPLE_S)

    def _look_at_memory(self) -> None:
        try:
            root = psutil.Process(self._process.pid)
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        self.memory = max(self.memory, sum(map(self._look_at, processes)))

    def _look_at(self, process: psutil.Process) -> int:
        """Note the CPU seconds of a process; returns its bytes, shared ones shared out. 0 if it is ending."""
        try:
            times = process.cpu_times()
            self._cpu_seconds[process.pid] = times.user + times.system
            return int(process.memory_full_info().pss)
        except psutil.Error:
            return 0

    def _look_at_disk(self) -> None:
        self.disk = max(self.disk, folder_bytes(self._folder))


def folder_bytes(folder: Path) -> int:
    """Bytes on the disk of all files of a folder, a file with several names once."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                status = (Path(path) / name).lstat()
                found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())


def measured(command: Sequence[str], log: Path, folder: Path, environment: Mapping[str, str]) -> Costs:
    """Run a command to its end; its output goes to `log`. Ends the program if it fails."""
    start = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            watch = Watch(process, folder)
            watch.join()
        finally:
            process.terminate()
            process.wait()
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"exit code {process.returncode}:\n{log.read_text()[-4000:]}")
    left = folder_bytes(folder)
    disk = max(watch.disk, left)
    return Costs(seconds, watch.cpu_seconds, watch.memory / GIGABYTE, disk / GIGABYTE, left / GIGABYTE)
