"""The shipped configurations, by name: `--config mf`, and the ratings of the demo.

They are in `configs/` and `tests/data/` of the repository, and inside the package if it is installed from a wheel.
"""

from __future__ import annotations

import os
import shlex
from importlib.resources import files
from pathlib import Path

from recsys_dist.errors import ConfigError
from recsys_dist.suggestions import did_you_mean

SUFFIXES = (".yaml", ".yml")


def config_folder() -> Path:
    """The folder of the shipped configurations."""
    package = Path(str(files("recsys_dist")))
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def demo_ratings() -> Path:
    """The folder of MovieTweetings 100K (Dooms et al. 2013), with its licence, MIT."""
    package = Path(str(files("recsys_dist")))
    installed = package / "demo_ratings"
    return installed if installed.is_dir() else package.parent / "tests" / "data" / "movietweetings"


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
        raise ConfigError(
            f"--config {name_or_path!r}: no shipped configuration has this name; {config_folder()} holds "
            f"{', '.join(config_names())}{_instead(name_or_path, here)}"
        )
    if here is not None and not here.samefile(shipped):
        raise ConfigError(
            f"--config {name_or_path}: both a shipped configuration and a file in this folder have this name; "
            f"write .{os.sep}{here} for the file, or {shipped} for the shipped one"
        )
    return shipped


def how_to_configure(path: str | Path) -> str:
    """What to do with rating files for which there is no configuration."""
    return f"`recsys-dist inspect {shlex.quote(str(path))} --output mine.yaml` proposes a configuration"


def _instead(name: str, here: Path | None) -> str:
    """What to give instead of an unknown name: a similar one, a configuration for a file of ratings, a path."""
    if here is not None and here.suffix and here.suffix.lower() not in SUFFIXES:
        return f". For the file {here}, {how_to_configure(here)}"
    meant = did_you_mean(name, config_names()) if here is None else ""
    return meant or f". For a file give its path: .{os.sep}{here or f'{name}.yaml'}"


def _is_path(text: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return text.endswith(SUFFIXES) or not separators.isdisjoint(text)


def _file_here(name: str) -> Path | None:
    """The file in the working folder that `name` may refer to."""
    candidates = [Path(f"{name}{suffix}") for suffix in ("", *SUFFIXES)]
    return next((path for path in candidates if path.is_file()), None)
