"""Versions of Python and of the packages that the program needs, and which extras are installed."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from recsys_dist.doctor.finding import Finding
from recsys_dist.extras import how_to_install, requirements
from recsys_dist.version import __version__

SHOWN = ("torch", "numpy", "scipy", "pyarrow", "dask", "distributed", "fsspec")
PURPOSES = {
    "s3": "paths s3://...",
    "slurm": "cluster.kind: slurm",
    "report": "`report` and `inspect --plot`",
    "serve": "`serve`",
    "tensorboard": "training.trackers: tensorboard",
    "mlflow": "training.trackers: mlflow",
    "wandb": "training.trackers: wandb",
    "sweep": "`sweep`",
    "faiss": "`export --to faiss`",
    "hnsw": "`export --to hnsw`",
    "onnx": "`export --to onnx`",
}
"""What an extra is for; those of developers are left out."""
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^]]*\])?\s*(?:>=\s*([\d.]+))?")


def check_versions() -> Iterator[Finding]:
    """The versions in one line, and a problem for each package that is missing or too old."""
    shown = ", ".join(f"{name} {installed(name) or 'missing'}" for name in SHOWN)
    yield Finding("ok", "versions", f"recsys-dist {__version__}, Python {platform.python_version()}, {shown}")
    for requirement in requirements().get("", []):
        if (lack := lacking(requirement)) is not None:
            yield Finding("problem", "packages", lack, f"pip install '{requirement}'")


def check_extras() -> Iterator[Finding]:
    """A line for each extra: installed, or how to install it."""
    for extra, packages in requirements().items():
        if extra not in PURPOSES:
            continue
        lacks = [lack for package in packages if (lack := lacking(package)) is not None]
        subject = f"extra {extra}"
        if lacks:
            yield Finding("note", subject, ", ".join(lacks), f"for {PURPOSES[extra]}: {how_to_install(extra)}")
        else:
            names = (_parts(package)[0] for package in packages)
            yield Finding("ok", subject, ", ".join(f"{name} {installed(name)}" for name in names))


def lacking(requirement: str) -> str | None:
    """What an installation lacks of a requirement such as `numpy>=2.1`; None if nothing."""
    name, least = _parts(requirement)
    found = installed(name)
    if found is None:
        return f"{name} is not installed"
    is_old = least is not None and _numbers(found) < _numbers(least)
    return f"{name} {found} is older than {least}" if is_old else None


def installed(name: str) -> str | None:
    """The installed version of a package; None if it is missing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _parts(requirement: str) -> tuple[str, str | None]:
    """The name and the least version of a requirement."""
    found = REQUIREMENT.match(requirement)
    return (found[1], found[2]) if found is not None else (requirement, None)


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with: 2.13.0+cpu is (2, 13, 0)."""
    beginning = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, beginning[0].split("."))) if beginning is not None else ()
