"""Files met in the field through `inspect` and `prepare` to the dataset: what is kept, set aside and said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.cli import main
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import DataError
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.field_cases.reading import CASES, COLUMNS
from tests.support.contents import contents, digests, rejects
from tests.support.inspect_command import inspect


@pytest.fixture
def run(address, tmp_path):
    def call(paths: Path | list[str], output: str = "out", columns: dict[str, Any] | None = None) -> Dataset:
        named = paths if isinstance(paths, list) else [str(paths)]
        tree = {
            "input": {"paths": named, "columns": columns or COLUMNS},
            "ratings": {"max_rejected": 0.9},
            "split": {"kind": "random", "test": 0.01},
            "cluster": {"address": address},
            "output": str(tmp_path / output),
        }
        prepare(PrepareConfig.model_validate(tree))
        return Dataset.open(str(tmp_path / output), verify=True)

    return call


def test_rows_of_parquet_that_are_no_text_are_kept_apart_with_their_numbers(run):
    path = CASES / "parquet/bad_utf8_item2.parquet"
    dataset = run(path)
    rows = dataset.manifest.rows
    assert (rows.read, rows.kept, rows.rejected) == (8, 6, {"not valid in the encoding": 2})
    reason = "not valid in the encoding"
    assert sorted(rejects(dataset)) == [
        (str(path), 4, "y,caf\\xe9,5", reason),
        (str(path), 8, "z,caf\\xe9,5", reason),
    ]
    assert sorted(dataset.ids("items").to_pylist()) == ["good1", "good2", "good3"]
    assert inspect(dataset.folder.url) == 0


def test_row_numbers_go_on_over_batches_and_row_groups(run, tmp_path):
    bad = pa.array([b"ok", b"\xff", b"ok", b"\xfe", b"v", b"\xfd"], pa.binary())
    users = pa.Array.from_buffers(pa.string(), 6, bad.buffers())
    table = pa.table({"user": users, "item": list("abcdef"), "rating": [1.0] * 6})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    dataset = run(tmp_path / "a.parquet")
    assert sorted(row[1] for row in rejects(dataset)) == [2, 4, 6]
    assert set(contents(dataset)) == {("ok", "a"), ("ok", "c"), ("v", "e")}


def test_decimal_ids_make_the_dataset_of_the_csv(run, tmp_path):
    dataset = run(CASES / "parquet/decimal_id.parquet")
    (tmp_path / "a.csv").write_text("user,item,rating\n1,a,1\n2,b,2\n3,a,3\n1,c,4\n")
    assert digests(run(tmp_path / "a.csv", "csv")) == digests(dataset)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_folders_as_columns_make_the_dataset_of_one_file(run, tmp_path, kind):
    rows = [(f"u{n % 7}", f"i{n}", float(n % 5 + 1)) for n in range(60)]
    (tmp_path / "a.csv").write_text("user,item,rating\n" + "".join(f"{u},{i},{r:g}\n" for u, i, r in rows))
    for user in {row[0] for row in rows}:
        folder = tmp_path / "parts" / f"customer={user}"
        folder.mkdir(parents=True)
        mine = [row for row in rows if row[0] == user]
        if kind == "csv":
            (folder / "0.csv").write_text("item,rating\n" + "".join(f"{i},{r:g}\n" for _, i, r in mine))
        else:
            columns = {"item": [row[1] for row in mine], "rating": [row[2] for row in mine]}
            pq.write_table(pa.table(columns), folder / "0.parquet")
    dataset = run(tmp_path / "parts", columns={**COLUMNS, "user": "customer"})
    assert digests(dataset) == digests(run(tmp_path / "a.csv", "plain"))


def test_the_proposal_for_a_folder_with_empty_parts_is_prepared(address, tmp_path):
    config, output = tmp_path / "proposed.yaml", tmp_path / "out"
    assert inspect(CASES / "spark_csv", "--output", config) == 0
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["prepare", "--config", str(config), f"output={output}", f"cluster.address={address}"])
    assert set(contents(Dataset.open(str(output)))) == {("u1", "a"), ("u2", "b")}


def test_an_append_of_a_folder_skips_its_empty_parts(run, address, tmp_path):
    run([str(CASES / "spark_csv/part-00000-x-c000.csv")])
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "a.csv").write_text("user,item,rating\nu3,c,3\n")
    (tmp_path / "more" / "b.csv").write_bytes(b"")
    tree = {
        "input": {"paths": str(tmp_path / "more"), "columns": COLUMNS},
        "ratings": {"max_rejected": 0.9},
        "split": {"kind": "random", "test": 0.01},
        "cluster": {"address": address},
        "output": str(tmp_path / "out"),
        "append": True,
    }
    prepare(PrepareConfig.model_validate(tree))
    assert sorted(Dataset.open(str(tmp_path / "out")).ids("users").to_pylist()) == ["u1", "u2", "u3"]


def test_headers_alone_are_one_line(run, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.csv", "b.csv"):
        (tmp_path / "in" / name).write_text("user,item,rating\n")
    with pytest.raises(DataError, match=r"in/a\.csv has no rows$"):
        run(tmp_path / "in")
    assert not (tmp_path / "out" / "manifest.json").exists()
