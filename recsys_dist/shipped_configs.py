"""The configurations that come with the program, by name: `--config mf`.

They lie in `configs/` of the repository, and within the package once it is installed from a wheel.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from recsys_dist.errors import ConfigError

SUFFIXES = (".yaml", ".yml")


def config_folder() -> Path:
    """The folder of the shipped configurations."""
    package = Path(str(files("recsys_dist")))
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def config_names() -> list[str]:
    """The names of all shipped configurations, sorted."""
    return sorted(path.stem for path in config_folder().glob("*.yaml"))


def find_config(name_or_path: str) -> Path:
    """The file that `--config` means.

    Whatever has a path separator in it or ends in .yaml or .yml is a path. All else is the name of a shipped
    configuration. Raises `ConfigError` for an unknown name, and for a name that could as well mean a file of the
    working folder.
    """
    if _is_path(name_or_path):
        return Path(name_or_path)
    shipped = config_folder() / f"{name_or_path}.yaml"
    here = _file_here(name_or_path)
    if name_or_path not in config_names():
        file = here or Path(f"{name_or_path}.yaml")
        raise ConfigError(
            f"--config {name_or_path!r}: no shipped configuration has this name; {config_folder()} holds "
            f"{', '.join(config_names())}. A file is written with its path: .{os.sep}{file}"
        )
    if here is not None and not here.samefile(shipped):
        raise ConfigError(
            f"--config {name_or_path}: there is a shipped configuration of this name and a file in this folder; "
            f"write .{os.sep}{here} for the file, or {shipped} for the other"
        )
    return shipped


def _is_path(text: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return text.endswith(SUFFIXES) or not separators.isdisjoint(text)


def _file_here(name: str) -> Path | None:
    """The file of the working folder that somebody may mean by `name`."""
    candidates = [Path(f"{name}{suffix}") for suffix in ("", *SUFFIXES)]
    return next((path for path in candidates if path.is_file()), None)
