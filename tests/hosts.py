"""Hosts of a cluster as network namespaces on one switch: their processes share nothing but the disk and a wire.

Needs root and `ip` (Debian package iproute2). Only the namespaces made here are touched; they end with all that runs
in them, however the test ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parent.parent
INTERFACE = "eth0"
PROBE = "recsys-probe"
NAMED = 'hostname "$0" && mount --bind "$1" /etc/hosts && shift && exec "$@"'
AS_HOST = ("unshare", "--uts", "sh", "-c", NAMED)
"""Gives a process a host name and the names of all hosts; `ip netns exec` has given it mounts of its own."""


def why_unavailable() -> str | None:
    """The reason why no hosts can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root to make network namespaces"
    if _ip_path() is None:
        return "needs the Debian package iproute2"
    name = f"{PROBE}-{os.getpid()}"
    made = _ip("netns", "add", name, check=False)
    if made.returncode != 0:
        return f"may not make network namespaces: {made.stderr.strip()}"
    try:
        bridge = _ip("-n", name, "link", "add", "switch", "type", "bridge", check=False)
        pair = _ip("-n", name, "link", "add", INTERFACE, "type", "veth", "peer", "name", "port", check=False)
    finally:
        _ip("netns", "delete", name)
    refused = [done.stderr.strip() for done in (bridge, pair) if done.returncode != 0]
    return f"may not make bridges and veth pairs: {refused[0]}" if refused else None


class Hosts:
    """So many hosts; the first has the address ending in 1."""

    def __init__(self, prefix: str, number: int, folder: Path) -> None:
        self._switch = f"{prefix}-switch"
        self._names = [f"{prefix}-{host}" for host in range(number)]
        self._table = folder / "hosts"
        self._started: list[subprocess.Popen[bytes]] = []

    def make(self) -> None:
        """The switch, then each host with its wire to it."""
        lines = (f"{self.address(host)} {name}\n" for host, name in enumerate(self._names))
        self._table.write_text("127.0.0.1 localhost\n" + "".join(lines))
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", "switch", "type", "bridge")
        _ip("-n", self._switch, "link", "set", "switch", "up")
        for host, name in enumerate(self._names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            port = ("peer", "name", f"port{host}", "netns", self._switch)
            _ip("-n", name, "link", "add", INTERFACE, "type", "veth", *port)
            _ip("-n", self._switch, "link", "set", f"port{host}", "master", "switch", "up")
            _ip("-n", name, "address", "add", f"{self.address(host)}/24", "dev", INTERFACE)
            _ip("-n", name, "link", "set", INTERFACE, "up")

    def address(self, host: int) -> str:
        """From the block for documentation: no real host has it."""
        return f"192.0.2.{host + 1}"

    def start(
        self, host: int, command: Sequence[str], output: IO[bytes], **settings: str
    ) -> subprocess.Popen[bytes]:
        """Run a command on a host, from the root of the repository; `settings` join its environment."""
        name = self._names[host]
        process = subprocess.Popen(
            [_require_ip(), "netns", "exec", name, *AS_HOST, name, str(self._table), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**self._environment(), **settings},
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def cut(self, host: int) -> None:
        """Take the network away, as a pulled cable does: nobody is told."""
        _ip("-n", self._names[host], "link", "set", INTERFACE, "down")

    def mend(self, host: int) -> None:
        """Give it back."""
        _ip("-n", self._names[host], "link", "set", INTERFACE, "up")

    def processes(self, host: int) -> list[int]:
        """The ids of all that runs on a host."""
        return [int(line) for line in _ip("netns", "pids", self._names[host]).stdout.split()]

    def signal_all(self, host: int, number: signal.Signals) -> None:
        """Send a signal to all that runs on a host."""
        for process in self.processes(host):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def power_off(self, host: int) -> None:
        """End all that runs on a host, with its network already gone, so that nobody is told."""
        self.cut(host)
        self._end_all(host)

    def remove(self) -> None:
        """End all that runs on the hosts, then the hosts."""
        made = _ip("netns", "list").stdout.split()
        for host, name in enumerate(self._names):
            if name in made:
                self._end_all(host)
                _ip("netns", "delete", name)
        if self._switch in made:
            _ip("netns", "delete", self._switch)

    def _end_all(self, host: int) -> None:
        deadline = time.monotonic() + 20
        while self._alive(host):
            self.signal_all(host, signal.SIGKILL)
            assert time.monotonic() < deadline, f"processes of {self._names[host]} do not end"
            time.sleep(0.05)

    def _alive(self, host: int) -> list[int]:
        for process in self._started:
            process.poll()
        return self.processes(host)

    def _environment(self) -> dict[str, str]:
        here = str(Path(sys.executable).parent)
        return {
            **os.environ,
            "PATH": f"{here}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
        }


@contextmanager
def connected_hosts(number: int) -> Iterator[Hosts]:
    """Make hosts that reach each other, and remove them again."""
    with tempfile.TemporaryDirectory(prefix="recsys-hosts-") as folder:
        hosts = Hosts(f"recsys-{os.getpid()}", number, Path(folder))
        try:
            hosts.make()
            yield hosts
        finally:
            hosts.remove()


def _ip_path() -> str | None:
    return shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _require_ip() -> str:
    path = _ip_path()
    assert path is not None, "`ip` is missing"
    return path


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [_require_ip(), *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert not check or done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done
