"""`inspect DATASET`: its tables hold what the manifest says, and --verify names the first file that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recsys_dist.cli.show.dataset import print_manifest
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST, RowCounts
from tests.support.inspect_command import cells, inspect
from tests.support.prepared import small_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return small_dataset(tmp_path / "d", num_ratings=2500, num_shards=3)


def test_the_tables_hold_the_numbers_of_the_manifest(dataset, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    rows = RowCounts(
        read=dataset.manifest.rows.kept + 30, kept=dataset.manifest.rows.kept, rejected={"b": 10, "a": 20}
    )
    manifest = dataset.manifest.model_copy(update={"rows": rows})
    (dataset.folder.local_path("") / MANIFEST).write_bytes(manifest.to_bytes())

    assert inspect(dataset.folder.url) == 0

    shown = cells(capsys.readouterr().out)
    train = [dataset.ratings("train", shard).rating for shard in range(3)]
    mean = np.concatenate(train).astype(np.float64).mean()
    num_train = sum(map(len, train))
    assert ["users", "120"] in shown
    assert ["ratings to train", f"{num_train:,}"] in shown
    assert ["rating", f"1 to 5, mean {mean:.4f}"] in shown
    assert ["split", "kind given"] in shown
    assert ["split fingerprint", manifest.split.fingerprint] in shown
    assert ["digest", Dataset.open(dataset.folder.url).digest] in shown
    kept = rows.kept
    assert [["read", f"{kept + 30:,}", "100.00%"], ["kept", f"{kept:,}", f"{kept / (kept + 30):.2%}"]] == shown[
        (first := shown.index(["", "rows", "share"])) + 1 : first + 3
    ]
    assert ["rejected: a", "20", f"{20 / (kept + 30):.2%}"] == shown[first + 3]
    for side, codes in (("users", "user_index"), ("items", "item_index")):
        shards = dataset.shards(side)
        index = np.concatenate([getattr(dataset.ratings("train", shard), codes) for shard in range(3)])
        counts = [int(((index >= shard.start) & (index < shard.stop)).sum()) for shard in shards]
        sizes = [shard.stop - shard.start for shard in shards]
        balance = f"{max(counts) / (num_train / 3):.3f}"
        spread = f"{min(sizes):,} to {max(sizes):,}"
        assert [side, "3", spread, f"{num_train / 3:,.1f}", f"{max(counts):,}", balance] in shown
    blocks = list(dataset.folder.local_path("blocks/users").iterdir())
    assert ["blocks/users", "3", f"{num_train:,}", f"{sum(file.stat().st_size for file in blocks):,}"] in shown
    files = [file for file in dataset.folder.local_path("").rglob("*") if file.is_file() and file.name != MANIFEST]
    assert ["all", f"{len(files)}", "", f"{sum(file.stat().st_size for file in files):,}"] in shown


def test_text_of_a_manifest_cannot_steer_the_terminal(dataset, capsys):
    split = dataset.manifest.split.model_copy(update={"rule": {"kind": "[red]\x1b[2J"}})
    dataset.manifest = dataset.manifest.model_copy(update={"split": split})

    print_manifest(dataset)

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[red]" in out


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (flip_last_byte, "is damaged: its sha256 differs from the recorded one"),
        (Path.unlink, "is missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "bytes where"),
    ],
)
def test_verify_names_the_first_file_that_is_not_as_recorded(
    dataset, tmp_path, capsys, damage: Callable[[Path], object], told: str
):
    records = [record.name for record in dataset.manifest.files]
    assert inspect(dataset.folder.url, "--verify") == 0
    assert f"All {len(records)} files are as recorded" in capsys.readouterr().out
    for name in records[5:10:2]:
        damage(dataset.folder.local_path(name))

    code = inspect(dataset.folder.url, "--verify", "--plot", tmp_path / "page.html")

    error = capsys.readouterr().err.splitlines()[-1]
    assert code == 2
    assert error.startswith(f"error: {dataset.folder.url}/{records[5]} ")
    assert told in error
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_said_before_the_work(dataset, tmp_path, capsys):
    assert inspect(dataset.folder.url, "--plot", tmp_path / "none" / "page.html") == 2

    assert (
        capsys.readouterr().err == f"error: --plot {tmp_path}/none/page.html: there is no folder {tmp_path}/none\n"
    )


def test_the_page_is_written_beside_the_tables(dataset, tmp_path, capsys):
    assert inspect(dataset.folder.url, "--plot", tmp_path / "page.html") == 0

    assert f"Wrote {tmp_path}/page.html" in capsys.readouterr().out
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("<svg") == 2 * 4  # wide and narrow
