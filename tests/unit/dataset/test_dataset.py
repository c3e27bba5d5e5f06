"""Whoever reads a file of a dataset learns that it is damaged, with its name, whatever Arrow makes of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.hashed_file import read_hashed, write_hashed
from recsys_dist.dataset.manifest import Split
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.storage.folder import Folder
from tests.support.prepared import small_dataset

READERS: dict[str, tuple[str, Callable[[Dataset], Any]]] = {
    "ids": ("users.parquet", lambda dataset: dataset.ids("users")),
    "id batches": ("items.parquet", lambda dataset: list(dataset.id_batches("items"))),
    "id slice": ("users.parquet", lambda dataset: dataset.id_slice("users", 0, 3)),
    "titles": ("items.parquet", lambda dataset: dataset.titles),
    "counts": ("users.parquet", lambda dataset: dataset.num_train("users")),
    "ratings": ("ratings/test/00001.parquet", lambda dataset: dataset.ratings("test", 1)),
    "timed ratings": ("ratings/train/00000.parquet", lambda dataset: dataset.timed_ratings("train", 0)),
    "arrow": ("ratings/valid/00001.parquet", lambda dataset: dataset.to_arrow("valid")),
    "block": ("blocks/items/00001.safetensors", lambda dataset: dataset.block("items", 1)),
}


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0.02, 0.1, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("reader", READERS)
def test_each_reader_names_the_file_that_is_damaged(tmp_path: Path, reader: str, place: float) -> None:
    small_dataset(tmp_path / "data", num_ratings=600, num_shards=2)
    name, read = READERS[reader]
    flip(tmp_path / "data" / name, place)

    with pytest.raises(DataError, match=rf"^{tmp_path}/data/{name} is damaged: its sha256 differs"):
        read(Dataset.open(str(tmp_path / "data")))


def test_verify_names_the_first_damaged_file_in_the_order_of_the_manifest(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data", num_ratings=600, num_shards=2)
    names = [record.name for record in dataset.manifest.files]
    for name in names[3:]:
        flip(tmp_path / "data" / name, 0.5)
    done = []

    with pytest.raises(DataError, match=rf"^{tmp_path}/data/{names[3]} is damaged"):
        dataset.verify(lambda _stage, number, total: done.append((number, total)))

    assert done == [(number, len(names)) for number in (1, 2, 3)]


def test_a_file_beside_its_hash_is_checked_and_one_without_is_not(tmp_path: Path) -> None:
    folder = Folder(str(tmp_path))
    write_hashed(folder, "manifest.json", b'{"mean": 3.5}')
    assert read_hashed(folder, "manifest.json") == b'{"mean": 3.5}'

    (tmp_path / "manifest.json").write_bytes(b'{"mean": 3.7}')
    with pytest.raises(DataError, match=r"manifest\.json is damaged, or manifest\.sha256 is"):
        read_hashed(folder, "manifest.json")

    (tmp_path / "manifest.sha256").unlink()
    assert read_hashed(folder, "manifest.json") == b'{"mean": 3.7}'


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads((folder / "manifest.json").read_bytes())
    change(tree)
    (folder / "manifest.json").write_text(json.dumps(tree))


def test_counts_of_a_manifest_that_contradict_its_files_are_found(tmp_path: Path) -> None:
    def move_a_rating(tree: dict[str, Any]) -> None:
        tree["num_ratings"]["test"] -= 1
        tree["num_ratings"]["valid"] += 1

    small_dataset(tmp_path / "data", num_ratings=600, num_shards=2)
    edit_manifest(tmp_path / "data", move_a_rating)

    with pytest.raises(DataError, match="its counts contradict each other"):
        Dataset.open(str(tmp_path / "data"), verify=True)


@pytest.mark.parametrize("reader", ["ids", "id batches", "counts"])
def test_a_file_of_ids_with_other_rows_than_the_manifest_says_is_refused(tmp_path: Path, reader: str) -> None:
    small_dataset(tmp_path / "data", num_ratings=600, num_shards=2)
    name, read = READERS[reader]
    path = tmp_path / "data" / name
    pq.write_table(pq.read_table(path).slice(1), path)

    def record(tree: dict[str, Any]) -> None:
        (one,) = (one for one in tree["files"] if one["name"] == name)
        one |= {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}

    edit_manifest(tmp_path / "data", record)

    with pytest.raises(DataError, match=rf"{name} has \d+ rows, but manifest.json lists"):
        read(Dataset.open(str(tmp_path / "data")))


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_ratings_of_a_split_as_a_table_have_the_ids_of_the_data(tmp_path: Path, split: Split) -> None:
    dataset = small_dataset(tmp_path)
    rows = dataset.to_arrow(split).to_pylist()
    expected = [
        (f"u{user}", f"i{item}", rating)
        for shard in range(len(dataset.shards("users")))
        for one in [dataset.ratings(split, shard)]
        for user, item, rating in zip(one.user_index, one.item_index, one.rating, strict=True)
    ]
    assert len(rows) == dataset.manifest.num_ratings[split] > 0
    assert [(row["user_id"], row["item_id"], row["rating"]) for row in rows] == expected
    assert rows[0].keys() == {"user_id", "item_id", "rating", "timestamp"}


def test_a_split_of_another_name_is_named_beside_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="split must be one of train, valid, test, not 'tests'"):
        small_dataset(tmp_path).to_arrow("tests")  # type: ignore[arg-type]
