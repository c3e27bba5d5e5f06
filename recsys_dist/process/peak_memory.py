"""Memory that this process uses. Linux only."""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")


def resident_bytes() -> int | None:
    """Resident bytes of this process, files that it maps included; None if unknown."""
    return _bytes_of("VmRSS")


def peak_bytes() -> int | None:
    """The most bytes that were resident since the process started; None if unknown."""
    return _bytes_of("VmHWM")


def _bytes_of(name: str) -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
        return int(lines[name].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None
