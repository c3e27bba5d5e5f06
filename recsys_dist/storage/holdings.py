"""What a path holds: a prepared dataset, a training run, a model, files of another kind, or nothing.

Commands that take the wrong one of these say what it is, and what would be right.
"""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path

from recsys_dist.storage.filesystem import Filesystem
from recsys_dist.storage.folder import Folder
from recsys_dist.suggestions import did_you_mean

OF_DATASET, OF_RUN, OF_MODEL = "manifest.json", "config.yaml", "model.json"
"""The file that makes a folder one of these."""
BESIDE_RUN = ("status.json", "checkpoints")
"""Of these a run has at least one."""
OF_PREPARATION = "preparing"
"""The folder of an unfinished preparation in its output."""


class Holding(Enum):
    """What a path holds."""

    DATASET = "a prepared dataset"
    UNFINISHED = "a preparation that is not complete"
    RUN = "a training run"
    MODEL = "a model folder"
    FILE = "a file"
    OTHER = "a folder"
    NOTHING = "nothing"


SIGNS = {OF_DATASET: Holding.DATASET, OF_MODEL: Holding.MODEL, OF_RUN: Holding.RUN}
WRITER = {Holding.DATASET: "prepare", Holding.RUN: "train", Holding.MODEL: "merge"}
"""The command that writes it."""


def holding(url: str) -> Holding:
    """What the path holds; a dataset that is complete but not published yet counts as unfinished."""
    folder, fs = Folder(url), Filesystem(url)
    for name, kind in SIGNS.items():
        # The configuration of a run has a common name, which other folders may contain.
        if folder.exists(name) and (kind is not Holding.RUN or any(map(folder.exists, BESIDE_RUN))):
            return kind
    if folder.exists(OF_PREPARATION):
        return Holding.UNFINISHED
    if not folder.exists():
        return Holding.NOTHING
    return Holding.FILE if fs.call("isfile", fs.path) else Holding.OTHER


def instead_of(url: str, wanted: Holding) -> str:
    """One line about a path that does not hold what is `wanted`: what it is, and what would be right."""
    found, right = holding(url), f"give a folder that `recsys-dist {WRITER[wanted]}` wrote"
    if found is Holding.NOTHING:
        return f"{absent(url)}; {right}".replace("?; ", "? ")
    if found is Holding.OTHER:
        sign = next(sign for sign, kind in SIGNS.items() if kind is wanted)
        return f"{url} holds no {sign}: it is not {wanted.value}; {right}"
    return f"{url} is {found.value}, not {wanted.value}; {_next_step(found, wanted, shlex.quote(url)) or right}"


def _next_step(found: Holding, wanted: Holding, name: str) -> str | None:
    """What leads from the path `name` to what is wanted; None if nothing does."""
    train = f"recsys-dist train --config mf dataset={name} run_dir=RUN_DIR"
    return {
        (Holding.RUN, Holding.MODEL): f"make one of it: recsys-dist merge {name} --output MODEL_DIR",
        (Holding.DATASET, Holding.RUN): f"train on it: {train}",
        (Holding.DATASET, Holding.MODEL): f"train on it and merge the run: {train}",
        (Holding.RUN, Holding.DATASET): f"its {OF_RUN} names the dataset of the run",
        (Holding.FILE, Holding.DATASET): "`recsys-dist prepare` makes one of files with ratings; "
        f"`recsys-dist inspect {name} --output mine.yaml` proposes a configuration",
        (Holding.UNFINISHED, Holding.DATASET): "the same `recsys-dist prepare` continues it",
    }.get((found, wanted))


def absent(url: str) -> str:
    """That there is nothing at a path: the first folder on it that is missing, or a similar name beside it."""
    fs = Filesystem(url)
    if not fs.is_local:
        return f"there is nothing at {url}"
    path = Path(url)
    what = "file" if path.suffix else "folder"
    return f"there is no {what} {url}{why_absent(path)}"


def why_absent(path: Path) -> str:
    """The end of the error about a local path: its first folder that is missing, or a similar name beside it."""
    missing = next((above for above in reversed(path.parents) if not above.exists()), path)
    beside = [entry.name for entry in missing.parent.iterdir()] if missing.parent.is_dir() else []
    above = "" if missing == path else f": there is no folder {missing}"
    return above + did_you_mean(missing.name, beside)
