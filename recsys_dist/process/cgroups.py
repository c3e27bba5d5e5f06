"""The control groups (version 2) of this process, by which a container limits it. Linux only."""

from __future__ import annotations

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def own_cgroups() -> list[Path]:
    """The folders of the groups that this process is in, the innermost first; empty if there are none."""
    try:
        own = Path("/proc/self/cgroup").read_text().splitlines()[-1].split("::")[1].lstrip("/")
    except (OSError, IndexError):
        return []
    folders = [CGROUPS / own, *(CGROUPS / own).parents]
    return [folder for folder in folders if folder.is_relative_to(CGROUPS)]
