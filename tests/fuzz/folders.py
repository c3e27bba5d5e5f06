"""Damaged datasets, models and runs through the commands that read them.

Half of the damaged files are recorded anew in the manifest beside them, as by somebody who made them on purpose:
what the hashes stop otherwise then reaches the readers.

    python -m tests.fuzz.folders --count 2000 --seed 0
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.mutations import mutations_of
from tests.fuzz.report import report_faults
from tests.fuzz.trials import Fault, try_commands

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ("manifest.json", "model.json", "checkpoint.json")
COLUMNS = "input.columns={user: 0, item: 1, rating: 2, timestamp: 3}"
FAMILIES = {
    "mf": ("mf", ["model.factors=3"]),
    "autorec": ("autorec_item", ["model.hidden=3", "model.regularization=1", "model.input_dropout=0"]),
}
MAKE_DEADLINE_S = 120.0


def prepare(*settings: str) -> list[str]:
    """The command that prepares ratings.csv."""
    config = str(ROOT / "configs/prepare_movietweetings.yaml")
    return ["prepare", "--config", config, "input.separator=,", "items.separator=|", COLUMNS, *settings]


def train(family: str, run: str, epochs: int) -> list[str]:
    """The command that trains a small model."""
    config, settings = FAMILIES[family]
    place = ["dataset=dataset", f"run_dir={run}", f"training.epochs={epochs}"]
    return ["train", "--config", str(ROOT / f"configs/{config}.yaml"), *settings, *place]


def make_folders(folder: Path) -> None:
    """In `folder` a dataset and of each family a run and a model."""
    rng = np.random.default_rng(0)
    pairs = rng.permutation(40 * 25)[:500]
    lines = [f"u{pair // 25},i{pair % 25},{rng.integers(1, 11)},{10**9 + pair}\n" for pair in pairs]
    (folder / "ratings.csv").write_text("".join(lines) + "u1,i1,x,1\n")
    (folder / "more.csv").write_text("new,i1,5,2000000000\nu1,i2,3,2000000001\n")
    (folder / "items.csv").write_text("".join(f"i{number}|Title {number}\n" for number in range(20)))
    commands = [prepare("input.paths=ratings.csv", "items.paths=items.csv", "output=dataset")]
    for family in FAMILIES:
        commands += [train(family, f"run-{family}", 2), ["merge", f"run-{family}", "--output", family]]
    fault = try_commands("making", folder, commands, ["dataset", *_made()], MAKE_DEADLINE_S)
    assert fault is None, fault
    assert all((folder / made).is_dir() for made in _made())


def _made() -> list[str]:
    return [name for family in FAMILIES for name in (family, f"run-{family}")]


def try_folders(folder: Path, count: int, seed: int, deadline_s: float) -> Iterator[Fault | None]:
    """Damage one file of one folder a trial and run what reads it; None where nothing is wrong."""
    sound = folder / "sound"
    sound.mkdir()
    make_folders(sound)
    kinds = ["dataset", *_made()]
    for number in range(count):
        rng, kind = np.random.default_rng([seed, number]), kinds[number % len(kinds)]
        work = folder / f"{number:05d}"
        shutil.copytree(sound, work)
        done = damage(work / kind, rng)
        yield try_commands(f"{number} {kind}: {done}", work, commands_of(kind), WRITTEN, deadline_s)
        shutil.rmtree(work)


def damage(folder: Path, rng: np.random.Generator) -> str:
    """Change one file below a folder, and tell which and how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    file = files[rng.integers(len(files))]
    changes = mutations_of(file.name)
    change = changes[rng.integers(len(changes))]
    file.write_bytes(change(file.read_bytes(), rng))
    is_recorded = bool(rng.random() < 0.5)
    if is_recorded:
        _record(file)
    return f"{change.__name__} of {file.relative_to(folder)}{', recorded' * is_recorded}"


def _record(file: Path) -> None:
    """Write size and hash of a changed file into the manifest that lists it, and that manifest's own hash."""
    for manifest in (folder / name for folder in file.parents[:3] for name in MANIFESTS):
        if not manifest.is_file():
            continue
        if manifest != file:
            _record_in(manifest, file)
        digest = hashlib.sha256(manifest.read_bytes()).hexdigest()
        for name, line in (("COMMITTED", digest), ("manifest.sha256", f"{digest}  {manifest.name}\n")):
            own = manifest.with_name(name)
            if own.is_file() and own != file:
                own.write_text(line)


def _record_in(manifest: Path, file: Path) -> None:
    content, name = file.read_bytes(), file.relative_to(manifest.parent).as_posix()
    try:
        tree = json.loads(manifest.read_bytes())
    except ValueError:
        return
    for record in _records(tree):
        if record.get("name") == name:
            record |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest.write_text(json.dumps(tree))


def _records(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if {"name", "sha256"} <= tree.keys():
            yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for branch in tree:
            yield from _records(branch)


WRITTEN = ("page.html", "lists.parquet", "lists.json", "merged", "run-new", "report.json")


def commands_of(kind: str) -> list[list[str]]:
    """What reads a dataset, a run or a model."""
    if kind == "dataset":
        return [
            *(["inspect", kind, "--verify"], ["inspect", kind, "--plot", "page.html"]),
            ["evaluate", "mf", "--dataset", kind, "--output", "report.json"],
            train("mf", "run-new", 1),
            prepare("input.paths=more.csv", "output=dataset", "append=true"),
        ]
    if kind.startswith("run-"):
        family = kind.removeprefix("run-")
        return [
            *(["report", kind, "--output", "page.html"], ["merge", kind, "--output", "merged"]),
            train(family, kind, 3),
        ]
    return [
        ["recommend", kind, "--user", "u1", "--top", "3", "--output", "lists.json"],
        *(["similar", kind, "--item", "i1"], ["evaluate", kind, "--dataset", "dataset"]),
        ["recommend", kind, "--all-users", "--top", "2", "--output", "lists.parquet"],
    ]


if __name__ == "__main__":
    report_faults(try_folders)
