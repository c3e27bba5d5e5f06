"""The shipped configurations, by name: `--config mf`.

They are in `configs/` of the repository, and inside the package if it is installed from a wheel.
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
    """The file that `--config` names.

    Text with a path separator, or ending in .yaml or .yml, is a path; anything else is the name of a shipped
    configuration. Raises `ConfigError` for an unknown name, and for a name that also fits a file in the working
    folder.
    """
    if _is_path(name_or_path):
        return Path(name_or_path)
    shipped = config_folder() / f"{name_or_path}.yaml"
    here = _file_here(name_or_path)
    if name_or_path not in config_names():
        file = here or Path(f"{name_or_path}.yaml")
        raise ConfigError(
            f"--config {name_or_path!r}: no shipped configuration has this name; {config_folder()} holds "
            f"{', '.join(config_names())}. For a file give its path: .{os.sep}{file}"
        )
    if here is not None and not here.samefile(shipped):
        raise ConfigError(
            f"--config {name_or_path}: both a shipped configuration and a file in this folder have this name; "
            f"write .{os.sep}{here} for the file, or {shipped} for the shipped one"
        )
    return shipped


def _is_path(text: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return text.endswith(SUFFIXES) or not separators.isdisjoint(text)


def _file_here(name: str) -> Path | None:
    """The file in the working folder that `name` may refer to."""
    candidates = [Path(f"{name}{suffix}") for suffix in ("", *SUFFIXES)]
    return next((path for path in candidates if path.is_file()), None)
