"""`prepare --append` on a dataset that was damaged: refused by the name of the file, and nothing is written."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys_dist.cli import main
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig

KINDS = (
    "manifest.json",
    "users.parquet",
    "items.parquet",
    "ratings/train/00000.parquet",
    "ratings/train/00001.parquet",
    "ratings/valid/00000.parquet",
    "ratings/test/00001.parquet",
    "blocks/users/00001.safetensors",
    "blocks/items/00000.safetensors",
    "rejects/00000.parquet",
)
"""One file of each kind, and of two shards."""


@pytest.fixture(scope="module")
def settings(address: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Those of a preparation; its dataset lies in `output`, what is to be added in `more.csv` beside it."""
    folder = tmp_path_factory.mktemp("append")
    rows = [f"u{n % 40},i{n * n % 31},{n % 5 + 1},{n}\n" for n in range(800)]
    (folder / "first.csv").write_text("user,item,rating,timestamp\n" + "".join(rows) + "u1,i1,much,1\n")
    (folder / "more.csv").write_text("user,item,rating,timestamp\nu1,i99,4,2000\nu99,i1,2,2001\n")
    settings = {
        "input": {
            "paths": [str(folder / "first.csv")],
            "columns": {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"},
        },
        "ratings": {"max_rejected": 0.1},
        "split": {"kind": "random", "test": 0.2, "valid": 0.2},
        "shards": {"users": 2, "items": 2},
        "output": str(folder / "dataset"),
        "cluster": {"address": address},
    }
    prepare(PrepareConfig.model_validate(settings))
    return settings


@pytest.fixture
def dataset(settings: dict[str, object], tmp_path: Path) -> Path:
    """A copy of the dataset, to damage."""
    return shutil.copytree(str(settings["output"]), tmp_path / "dataset")


def append(settings: dict[str, object], dataset: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of the command, and what it printed as an error."""
    tree = {**settings, "output": str(dataset)}
    config = dataset.parent / "prepare.yaml"
    config.write_text(json.dumps(tree))
    more = Path(str(settings["output"])).parent / "more.csv"
    with pytest.raises(SystemExit) as ended:
        main(["prepare", "--config", str(config), "--append", str(more)])
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return int(ended.value.code or 0), "\n".join(errors)


def contents(dataset: Path) -> dict[str, bytes]:
    return {str(path.relative_to(dataset)): path.read_bytes() for path in dataset.rglob("*") if path.is_file()}


def flip(path: Path, place: float, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[min(int(place * len(data)), len(data) - 1)] ^= 1 << bit
    path.write_bytes(data)


def test_a_sound_dataset_is_added_to(settings, dataset, capsys):
    before = json.loads((dataset / "manifest.json").read_text())
    assert append(settings, dataset, capsys) == (0, "")
    after = json.loads((dataset / "manifest.json").read_text())
    assert after["rows"]["read"] == before["rows"]["read"] + 2
    carried = {file["name"]: file["sha256"] for file in before["files"] if file["name"].startswith("rejects/")}
    assert carried.items() <= {file["name"]: file["sha256"] for file in after["files"]}.items()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("place", "bit"), [(0.0, 0), (0.3, 5), (0.6, 2), (1.0, 7)])
def test_a_flipped_bit_in_any_file_is_refused_by_name(settings, dataset, capsys, name, place, bit):
    flip(dataset / name, place, bit)
    before = contents(dataset)

    code, error = append(settings, dataset, capsys)

    assert code == 2
    assert error.startswith(f"error: append: {dataset / name} is damaged")
    assert error.count("\n") == 0
    assert contents(dataset) == before


def edited(change: Callable[[dict], None]) -> Callable[[Path], None]:
    """Writes the manifest anew, as it would have been with other content."""

    def edit(path: Path) -> None:
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")

    return edit


def move_a_rating(manifest: dict) -> None:
    manifest["num_ratings"]["test"] -= 1
    manifest["num_ratings"]["valid"] += 1


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HARMS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "removed": ("ratings/test/00000.parquet", Path.unlink, "is missing"),
    "truncated": (
        "users.parquet",
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        r"has \d+ bytes where \d+ were",
    ),
    "of another shard": (
        "blocks/users/00000.safetensors",
        lambda path: shutil.copy(path.with_name("00001.safetensors"), path),
        "",
    ),
    "a folder": ("items.parquet", make_folder, ""),
    "no manifest": ("manifest.json", Path.unlink, r"holds no manifest\.json"),
    "another mean": ("manifest.json", edited(lambda manifest: manifest["rating"].update(mean=3.0)), "is damaged"),
    "other counts": ("manifest.json", edited(move_a_rating), "is damaged"),
    "a damaged hash": (
        "manifest.sha256",
        lambda path: flip(path, 0.1, 1),
        r"manifest\.sha256 is: they do not match",
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_file_that_is_not_what_it_was_is_refused_by_name(settings, dataset, capsys, harm):
    name, do, told = HARMS[harm]
    do(dataset / name)
    before = contents(dataset)

    code, error = append(settings, dataset, capsys)

    assert code == 2
    assert error.startswith("error: append: ")
    assert (Path(name).stem if name.startswith("manifest") else name) in error
    assert re.search(told, error)
    assert error.count("\n") == 0
    assert contents(dataset) == before


def test_a_manifest_that_nothing_can_check_is_not_built_on(settings, dataset, capsys):
    (dataset / "manifest.sha256").unlink()
    edited(move_a_rating)(dataset / "manifest.json")

    code, error = append(settings, dataset, capsys)

    assert (code, error) == (
        2,
        f"error: append: {dataset}/manifest.sha256 is missing, so manifest.json cannot be checked; "
        "restore it, or prepare all files again",
    )
