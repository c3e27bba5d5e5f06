"""Where measured figures come from: commit, machine, versions and date."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path

import psutil

from benchmarks.commands import ROOT
from recsys_dist.errors import ConfigError

PACKAGES = ("torch", "numpy", "recsys-dist")
NOT_MEASURED = ("docs", "README.md")
"""Suites, tables.py and pictures.py write here; changes do not make the measured code another one."""
CPU_FIELDS = ("model name", "cpu family", "model")


@dataclass(frozen=True)
class Origin:
    """Of all figures of one call; texts as they stand in a file of figures."""

    command: str
    commit: str
    date: str
    machine: str
    versions: str

    @classmethod
    def of(cls, command: str, is_dirty_allowed: bool, root: Path = ROOT) -> Origin:
        """Of a command that is started now. ConfigError where the checkout cannot be named by a commit."""
        commit = commit_of(root, is_dirty_allowed)
        return cls(command, commit, date.today().isoformat(), machine(), versions())


def commit_of(root: Path, is_dirty_allowed: bool) -> str:
    """The short name of the checked-out commit, marked where files differ from it."""
    changed = [line[3:] for line in _git(root, "status", "--porcelain", "--", ".", *_left_out()).splitlines()]
    commit = _git(root, "rev-parse", "--short", "HEAD").strip()
    if not changed:
        return commit
    if not is_dirty_allowed:
        files = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise ConfigError(f"files differ from the commit: {files}; commit them, or mark the figures by --dirty")
    return f"{commit} with changes"


def _left_out() -> list[str]:
    return [f":(exclude){folder}" for folder in NOT_MEASURED]


def _git(root: Path, *arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=root, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise ConfigError(f"{root}: figures name a commit, and git says: {ended.stderr.strip()}")
    return ended.stdout


def machine() -> str:
    """Processor, cores of this process and memory."""
    cores, gigabytes = len(os.sched_getaffinity(0)), psutil.virtual_memory().total / 1e9
    return f"{processor(Path('/proc/cpuinfo'))}, {cores} cores, {gigabytes:.0f} GB"


def processor(told: Path) -> str:
    """The name of the processor; family and model tell apart what clouds call by one name."""
    text = told.read_text(encoding="utf-8") if told.exists() else ""
    found = dict(re.findall(r"^([\w ]+?)\s*: (.*)$", text, re.MULTILINE))
    if not found.keys() >= set(CPU_FIELDS):
        return platform.processor() or platform.machine()
    name, family, model = (found[field] for field in CPU_FIELDS)
    return f"{name} (family {family}, model {model})"


def versions() -> str:
    """Of Python and of the packages that are measured."""
    installed = ", ".join(f"{name.replace('-', '_')} {metadata.version(name)}" for name in PACKAGES)
    return f"python {platform.python_version()}, {installed}"
