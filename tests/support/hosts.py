"""Hosts of a cluster as network namespaces on one switch: what runs on two of them shares a disk and a wire.

Needs root and `ip` (Debian package iproute2). Only the namespaces made here are touched. Each host has a name, an
address and shared memory of its own; it ends with all that runs on it, however the test ends.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

REPOSITORY = Path(__file__).resolve().parents[2]
INTERFACE = "eth0"
AS_HOST = (
    "unshare",
    "--uts",
    "sh",
    "-ec",
    'hostname "$0"; mount --bind "$1" /etc/hosts; mount -t tmpfs tmpfs /dev/shm; shift; exec "$@"',
)
"""Then the host's name, the file of all names and a command; `ip netns exec` has given it mounts of its own."""
SECONDS_TO_END = 20.0


def why_unavailable() -> str | None:
    """The reason why no hosts can be made here, or None."""
    if os.geteuid() != 0:
        return "needs root to make network namespaces"
    if _ip_path() is None:
        return "needs the Debian package iproute2"
    try:
        with connected_hosts(1) as hosts, tempfile.TemporaryFile() as output:
            process = hosts.start(0, ["true"], output)
            process.wait(SECONDS_TO_END)
            output.seek(0)
            told = output.read().decode().strip()
    except HostsError as error:
        return f"may not make hosts: {error}"
    return f"may not run as a host: {told}" if process.returncode else None


class HostsError(Exception):
    """`ip` refused."""


class Hosts:
    """So many hosts; host 0 has the address that ends in 1."""

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
        """From the block for documentation, which no real host has."""
        return f"192.0.2.{host + 1}"

    def start(
        self, host: int, command: Sequence[str], output: IO[bytes], **settings: str
    ) -> subprocess.Popen[bytes]:
        """Run a command on a host, from the root of the repository; `settings` join its environment."""
        name = self._names[host]
        here = str(Path(sys.executable).parent)
        own = {"PATH": f"{here}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [str(_ip_path()), "netns", "exec", name, *AS_HOST, name, str(self._table), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=REPOSITORY,
            env={**os.environ, **own, **settings},
        )
        self._started.append(process)
        return process

    def cut(self, host: int) -> None:
        """Take its network away, as a pulled cable does: nobody is told."""
        _ip("-n", self._names[host], "link", "set", INTERFACE, "down")

    def mend(self, host: int) -> None:
        """Give it back."""
        _ip("-n", self._names[host], "link", "set", INTERFACE, "up")

    def signal_all(self, host: int, number: signal.Signals) -> None:
        """Send a signal to all that runs on a host."""
        for process in self.processes(host):
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def end_all(self, host: int) -> None:
        """Kill all that runs on a host, and wait for its end."""
        deadline = time.monotonic() + SECONDS_TO_END
        while self.processes(host):
            self.signal_all(host, signal.SIGKILL)
            assert time.monotonic() < deadline, f"what runs on {self._names[host]} does not end"
            time.sleep(0.02)

    def processes(self, host: int) -> list[int]:
        """The ids of all that runs on a host."""
        for process in self._started:
            process.poll()  # one that has ended is listed until somebody asks for its exit code
        return [int(line) for line in _ip("netns", "pids", self._names[host]).split()]

    def remove(self) -> None:
        """End all that runs on the hosts, then the hosts."""
        made = _ip("netns", "list").split()
        for host, name in enumerate(self._names):
            if name in made:
                self.end_all(host)
                _ip("netns", "delete", name)
        for process in self._started:
            process.wait(SECONDS_TO_END)
        if self._switch in made:
            _ip("netns", "delete", self._switch)


@contextmanager
def connected_hosts(number: int) -> Iterator[Hosts]:
    """Make hosts that reach each other, and remove them again. Raises `HostsError` where the kernel refuses."""
    with tempfile.TemporaryDirectory(prefix="recsys-hosts-") as folder:
        # A name of a host has no underscores, and the same process may have made others.
        hosts = Hosts(f"recsys-{secrets.token_hex(4)}", number, Path(folder))
        try:
            hosts.make()
            yield hosts
        finally:
            hosts.remove()


def _ip_path() -> str | None:
    return shutil.which("ip", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _ip(*arguments: str) -> str:
    done = subprocess.run([str(_ip_path()), *arguments], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise HostsError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
