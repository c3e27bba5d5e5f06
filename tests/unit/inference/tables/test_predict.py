"""Predictions for files of pairs: what is read, what is written, and what ends the command."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist import load_model
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.tables import reading
from recsys_dist.inference.tables.predict import predict_file
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset

COLUMNS = ("user_id", "item_id")


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("predict")
    dataset = small_dataset(root / "dataset")
    write_merged(mf_run(dataset, noise="both"), dataset, root / "mf")
    write_merged(autorec_run(dataset, "items"), dataset, root / "autorec")
    return {kind: str(root / kind) for kind in ("mf", "autorec")}


@pytest.fixture(scope="module")
def model(folders):
    return load_model(folders["mf"])


def predict(model, pairs: Path, output: Path, with_std: bool = False, columns: tuple[str, str] = COLUMNS):
    return predict_file(model.predictor, str(pairs), columns, output, with_std, lambda *_: None)


def drawn(num_pairs: int) -> tuple[list[str], list[str]]:
    """Pairs of ids, some of them unknown."""
    draw = np.random.default_rng(0)
    users, items = draw.integers(0, 130, num_pairs), draw.integers(0, 65, num_pairs)
    return [f"u{user}" for user in users], [f"i{item}" for item in items]


def test_a_text_file_keeps_its_columns_and_gets_predictions(tmp_path, model, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 300)
    users, items = drawn(200)
    notes = ["plain", 'a, "quoted" one', "", "line's end é", "007"] * 40
    with (tmp_path / "pairs.csv").open("w", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["note", "item_id", "user_id"])
        writer.writerows(zip(notes, items, users, strict=True))

    counts = predict(model, tmp_path / "pairs.csv", tmp_path / "out.csv", with_std=True)

    rows = read(tmp_path / "out.csv")
    assert list(rows[0]) == ["note", "item_id", "user_id", "predicted", "std", "known_user", "known_item"]
    assert [(row["note"], row["item_id"], row["user_id"]) for row in rows] == list(
        zip(notes, items, users, strict=True)
    )
    rating, std = model.predict(users, items, return_std=True)
    np.testing.assert_array_equal(np.array([row["predicted"] for row in rows], np.float32), rating)
    np.testing.assert_allclose([float(row["std"]) for row in rows], std, rtol=1e-6)
    known_user = [user in model.user_ids for user in users]
    assert [row["known_user"] for row in rows] == [str(known).lower() for known in known_user]
    assert [row["known_item"] for row in rows] == [str(item in model.item_ids).lower() for item in items]
    assert (counts.num_pairs, counts.num_cold["users"]) == (200, 200 - sum(known_user))
    assert counts.num_cold["items"] == sum(item not in model.item_ids for item in items) > 0


@pytest.mark.parametrize("output", ["out.csv", "out.tsv", "out.parquet"])
@pytest.mark.parametrize("source", ["pairs.csv", "pairs.tsv", "pairs.csv.gz", "pairs.parquet"])
def test_every_format_gives_the_same_predictions(tmp_path, model, source, output):
    users, items = drawn(50)
    write(tmp_path / source, users, items)

    predict(model, tmp_path / source, tmp_path / output)

    table = read(tmp_path / output)
    assert [row["user_id"] for row in table] == users
    found = np.array([row["predicted"] for row in table], np.float32)
    np.testing.assert_array_equal(found, model.predict(users, items))


def write(path: Path, users: list[str], items: list[str]) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"user_id": users, "item_id": items}), path)
        return
    separator = "\t" if ".tsv" in path.name else ","
    lines = [separator.join(row) for row in [("user_id", "item_id"), *zip(users, items, strict=True)]]
    data = "".join(f"{line}\r\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def read(path: Path) -> list[dict]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))


def test_parquet_keeps_types_and_reads_numbers_as_their_digits(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "BATCH_ROWS", 3)
    dataset = small_dataset(tmp_path / "dataset")
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    # The raw ids of this model are digits.
    model = load_model(str(tmp_path / "model"))
    for index in (model.user_ids, model.item_ids):
        index._ids = pa.array([text[1:] for text in index.array.to_pylist()])
    table = pa.table(
        {
            "member": pa.array([1, 7, 500, 2**63], pa.uint64()),
            "film": pa.array(["3", "3", "4", "x"]).dictionary_encode(),
            "tags": [["a"], [], None, ["b", "c"]],
            "when": pa.array([1, 2, 3, None], pa.timestamp("ms")),
        }
    )
    pq.write_table(table, tmp_path / "pairs.parquet")

    counts = predict(model, tmp_path / "pairs.parquet", tmp_path / "o.parquet", columns=("member", "film"))

    written = pq.read_table(tmp_path / "o.parquet")
    assert written.select(["member", "tags", "when"]).equals(table.select(["member", "tags", "when"]))
    np.testing.assert_array_equal(
        written["predicted"].to_numpy(), model.predict([1, 7, 500, 2**63], ["3", "3", "4", "x"])
    )
    assert written["known_user"].to_pylist() == [True, True, False, False]
    assert (counts.num_pairs, counts.num_cold) == (4, {"users": 2, "items": 1})
    with pytest.raises(ConfigError, match="text cannot hold column 'tags' of type list"):
        predict(model, tmp_path / "pairs.parquet", tmp_path / "o.csv", columns=("member", "film"))
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.parquet"])
@pytest.mark.parametrize("output", ["out.csv", "out.parquet"])
def test_no_pairs_give_a_file_without_rows(tmp_path, model, name, output):
    write(tmp_path / name, [], [])
    if name == "pairs.parquet":
        empty = pa.table({"user_id": pa.array([], pa.string()), "item_id": pa.array([], pa.int64())})
        pq.write_table(empty, tmp_path / name)

    assert predict(model, tmp_path / name, tmp_path / output).num_pairs == 0
    assert read(tmp_path / output) == []


def test_a_model_that_ranks_gives_scores(tmp_path, folders, monkeypatch):
    model = load_model(folders["autorec"])
    monkeypatch.setattr(type(model.predictor.scorer), "predicts_ratings", False)
    write(tmp_path / "pairs.csv", *drawn(20))

    predict(model, tmp_path / "pairs.csv", tmp_path / "out.csv")

    users, items = drawn(20)
    pairs = model.predictor.by_index(model.user_ids.find(users), model.item_ids.find(items))
    found = [float(row["score"]) for row in read(tmp_path / "out.csv")]
    np.testing.assert_allclose(found, model.predictor.ratings(*pairs), rtol=1e-6)


def test_a_file_is_written_whole_or_stays_as_it_was(tmp_path, model, monkeypatch):
    monkeypatch.setattr(reading, "BLOCK_BYTES", 300)
    write(tmp_path / "pairs.csv", *drawn(200))
    with (tmp_path / "pairs.csv").open("a") as stream:
        stream.write("u1\n")
    (tmp_path / "out.csv").write_text("old")

    with pytest.raises(DataError, match=r"pairs\.csv line 202: wrong number of fields: 'u1'"):
        predict(model, tmp_path / "pairs.csv", tmp_path / "out.csv")

    assert (tmp_path / "out.csv").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "pairs.csv"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("user_id,film\nu1,i1\n", r"^--item-column: .*pairs\.csv has no column 'item_id'; it has: user_id, film$"),
        ("u1,i1\nu2,i2\n", "^--user-column: .* has no column 'user_id'; it has: u1, i1$"),
        ("user_id;item_id\nu1;i1\n", "it has: user_id;item_id; fields must be separated by commas, or by tabs if"),
        ("user_id,item_id,user_id\nu1,i1,u2\n", "has more than one column 'user_id'; rename one of them"),
        (
            "user_id,item_id\nu1,i1\n\n,i2\n",
            r"pairs\.csv line 4: user_id is empty; leave the row out, or give its",
        ),
        ('user_id,item_id\nu1,"i1\n', r"pairs\.csv line 2: quote not closed: 'u1,\"i1'"),
        ("user_id,item_id\nu1,i\0\n", r"line 2: NUL byte"),
        ("user_id,item_id,predicted\nu1,i1,3\n", "has a column 'predicted', which predictions need; rename or"),
        ("user_id,item_id,known_item\nu1,i1,3\n", "has a column 'known_item', which predictions need"),
        ("", r"pairs\.csv is empty"),
        ("PAR1\x15 not text", r"pairs\.csv is a Parquet file, whose name should end in \.parquet"),
    ],
)
def test_a_text_file_that_cannot_be_used_is_refused(tmp_path, model, text, reason):
    (tmp_path / "pairs.csv").write_text(text)

    with pytest.raises(DataError, match=reason):
        predict(model, tmp_path / "pairs.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (
            {"user_id": ["u1", "u2"], "item_id": [1.0, 2.0]},
            "^--item-column: 'item_id' of .* is double; it must hold",
        ),
        ({"user_id": ["u1", None], "item_id": ["i1", "i2"]}, r"pairs\.parquet row 2: user_id is empty; leave"),
        ({"user_id": ["u1", "u2"], "film": ["i1", "i2"]}, "^--item-column: .* has no column 'item_id'"),
        ({"user_id": ["u1"], "item_id": ["i1"], "predicted": [1]}, "has a column 'predicted'"),
    ],
)
def test_a_parquet_file_that_cannot_be_used_is_refused(tmp_path, model, columns, reason):
    pq.write_table(pa.table(columns), tmp_path / "pairs.parquet")

    with pytest.raises(DataError, match=reason):
        predict(model, tmp_path / "pairs.parquet", tmp_path / "out.csv")


def test_what_is_impossible_is_refused_before_the_file_is_read(tmp_path, folders, model):
    nowhere = tmp_path / "nowhere.csv"
    with pytest.raises(ConfigError, match=r"the name must end in \.csv, \.tsv or \.parquet"):
        predict(model, nowhere, tmp_path / "out.json")
    with pytest.raises(ConfigError, match="--user-column and --item-column are both 'id'; name two columns"):
        predict(model, nowhere, tmp_path / "out.csv", columns=("id", "id"))
    with pytest.raises(ConfigError, match="has no uncertainty"):
        predict(load_model(folders["autorec"]), nowhere, tmp_path / "out.csv", with_std=True)
    with pytest.raises(DataError, match=r"^PAIRS: there is no file .*nowhere\.csv"):
        predict(model, nowhere, tmp_path / "out.csv")
    (tmp_path / "folder").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "folder" / name).write_text("user_id,item_id\n")
    with pytest.raises(DataError, match=r"^PAIRS: .*folder holds 2 files; name one of them"):
        predict(model, tmp_path / "folder", tmp_path / "out.csv")
