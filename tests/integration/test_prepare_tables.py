"""Datasets prepared from Python: from tables they are those of the same rows in files, byte for byte."""

from __future__ import annotations

import csv
import itertools
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

import recsys_dist
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.from_python import tables
from recsys_dist.preparation.prepare import prepare as prepare_files
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.support.contents import contents, digests, rejects

NAMED = {"user": "member", "item": "film", "rating": "stars", "timestamp": "when"}
RULES = {
    "split": {"kind": "random", "test": 0.2, "valid": 0.1, "seed": 3},
    "ratings": {"min": 0, "max": 10},
    "shards": {"users": 3, "items": 2},
}


def a_table(num_rows=900, seed=0) -> pa.Table:
    """No pair stands twice, so that nothing is set aside."""
    rng = np.random.default_rng(seed)
    user, item = np.divmod(rng.permutation(40 * 80)[:num_rows], 80)
    return pa.table(
        {
            "when": rng.integers(0, 999, num_rows),
            "film": item,
            "stars": rng.integers(1, 11, num_rows) / 2,
            "member": [f"u{number}" for number in user],
            "unused": [None] * num_rows,
        }
    )


@pytest.fixture
def run(address, tmp_path):
    """Prepares what is given, by the same rules each time."""
    numbers = itertools.count()

    def call(given, **arguments) -> Dataset:
        columns = {} if sparse.issparse(given) else NAMED
        output = tmp_path / f"out-{next(numbers)}"
        whole = {"output": output, "cluster": {"address": address}, **columns, **RULES, **arguments}
        dataset = recsys_dist.prepare(given, **whole)
        folder = Path(whole["output"])
        assert not [path.name for path in folder.iterdir() if path.name.startswith((".", "preparing"))]
        return Dataset.open(dataset.folder.url, verify=True)

    return call


@pytest.fixture
def run_file(address, tmp_path):
    """Prepares a file as the command does."""

    def call(path, **changes) -> Dataset:
        output = str(tmp_path / f"of-{path.name}")
        tree = {"input": {"paths": str(path), "columns": NAMED}, "output": output, **RULES, **changes}
        prepare_files(PrepareConfig.model_validate({**tree, "cluster": {"address": address}}))
        return Dataset.open(output)

    return call


def write_csv(path, table):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows(
            tuple("" if value is None else value for value in row.values()) for row in table.to_pylist()
        )
    return path


def write_parquet(path, table):
    pq.write_table(table, path)
    return path


def test_a_table_becomes_the_dataset_of_the_same_rows_in_a_file(run, run_file, tmp_path, monkeypatch):
    table = a_table()
    expected = run_file(write_parquet(tmp_path / "a.parquet", table)).digest
    assert run_file(write_csv(tmp_path / "a.csv", table)).digest == expected

    monkeypatch.setattr(tables, "CHUNK_ROWS", 100)
    assert run(table).digest == expected
    assert run(table.to_reader(max_chunksize=7)).digest == expected


text = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=3)
ids = st.one_of(st.none(), text, st.integers(-5, 5).map(str))
rows = st.tuples(
    ids, ids, st.one_of(st.none(), st.sampled_from([0.5, 3, 11])), st.one_of(st.none(), st.integers(0, 9))
)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rows, max_size=30), st.integers(1, 9))
def test_any_table_becomes_the_dataset_of_the_same_rows_in_a_file(run, run_file, tmp_path, drawn, chunk_rows):
    """With what is missing, repeated, out of range or no id; one row is good, so that there is a dataset."""
    columns = dict(zip(NAMED.values(), zip(*drawn, ("u", "i", 1.0, 1), strict=True), strict=True))
    types = [pa.string(), pa.string(), pa.float64(), pa.int64()]
    table = pa.table(
        [pa.array(values, kind) for values, kind in zip(columns.values(), types, strict=True)], [*columns]
    )
    split = {"kind": "random", "test": 0, "valid": 0}
    of_file = run_file(write_parquet(tmp_path / "drawn.parquet", table), overwrite=True, split=split)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "CHUNK_ROWS", chunk_rows)
        of_table = run(table, split=split)

    assert digests(of_table) == digests(of_file)
    assert of_table.manifest.rows == of_file.manifest.rows
    named = str(tmp_path / "drawn.parquet")
    assert rejects(of_table) == [
        tuple("table" if value == named else value for value in row) for row in rejects(of_file)
    ]


def test_what_cannot_be_used_is_set_aside_with_its_row(run, caplog):
    table = pa.table(
        {
            "member": ["a", None, "b", "b", "", "c"],
            "film": [1, 2, 3, None, 5, 6],
            "stars": [1.0, 2.0, 11.0, 4.0, 5.0, float("nan")],
            "when": [1, 2, 3, 4, 5, 6],
        }
    )

    with caplog.at_level(logging.INFO, "recsys_dist"):
        dataset = run(table, split={"test": 0, "valid": 0})

    assert [row[:2] + row[3:] for row in rejects(dataset)] == [
        ("table", 2, "empty user id"),
        ("table", 3, "rating out of range"),
        ("table", 4, "empty item id"),
        ("table", 5, "empty user id"),
        ("table", 6, "rating is not a finite number"),
    ]
    told = [record.getMessage() for record in caplog.records]
    assert f"{dataset.folder.url}: 6 rows read, 1 kept" in told
    assert any(line.startswith("5 of 6 rows set aside: empty item id 1, empty user id 2") for line in told)


def test_a_matrix_becomes_the_dataset_of_its_entries(run):
    matrix = sparse.csr_array(([5.0, 0.0, 2.0, 3.0], ([0, 2, 2, 1], [1, 0, 3, 1])), shape=(3, 4))
    split = {"test": 0, "valid": 0}

    assert contents(run(matrix, split=split)) == {
        ("0", "1"): (5.0, None, "train"),
        ("1", "1"): (3.0, None, "train"),
        ("2", "0"): (0.0, None, "train"),
        ("2", "3"): (2.0, None, "train"),
    }
    named = run(matrix, split=split, user_ids=["ann", "bob", "cid"], item_ids=[7, 8, 9, 10])
    assert {user for user, _ in contents(named)} == set(named.user_ids) == {"ann", "bob", "cid"}
    assert {item for _, item in contents(named)} == set(named.item_ids) == {"7", "8", "10"}


def test_titles_come_along(run):
    titles = {number: f"Film {number}" for number in range(60)}

    for one in (titles, pa.table({"film": [*titles], "title": [*titles.values()]})):
        dataset = run(a_table(), titles=one)
        assert dataset.titles.to_pylist() == [titles.get(int(item)) for item in dataset.item_ids]


def test_titles_of_other_items_are_remarked(run, caplog):
    run(a_table(), titles={"tt1": "One"})

    assert "no item of the ratings has a title: ids in titles look like 'tt1'" in caplog.text


def test_dates_are_instants_and_split_by_time(run):
    times = np.arange("2020-01-01", "2020-01-11", dtype="datetime64[D]")
    table = pa.table({"member": ["a", "b"] * 5, "film": [*range(10)], "stars": [1.0] * 10, "when": times})

    dataset = run(table, split={"kind": "time", "test": 0.3, "valid": 0})

    late = {time for _, time, split in contents(dataset).values() if split == "test"}
    assert late == {int(time.astype("datetime64[s]").astype(int)) for time in times[-3:]}


def test_a_table_is_added_to_a_dataset(run, tmp_path):
    table, output = a_table(), tmp_path / "grown"
    run(table.slice(0, 600), output=output)

    grown = run(table.slice(600), output=output, append=True)

    assert contents(grown) == contents(run(table))
    with pytest.raises(DataError, match="append: table changes nothing in"):
        run(table.slice(600), output=output, append=True)


def test_a_dataset_stands_until_it_is_to_be_replaced(run, tmp_path):
    first = run(a_table(), output=tmp_path / "out")

    with pytest.raises(ConfigError, match="holds a prepared dataset; set overwrite to true to replace it"):
        run(a_table(seed=1), output=tmp_path / "out")
    broken = a_table().set_column(2, "stars", pa.array([True] * 900))
    with pytest.raises(DataError, match=r"table\['stars'\] must be numbers"):
        run(broken, output=tmp_path / "out", overwrite=True)
    assert Dataset.open(str(tmp_path / "out"), verify=True).digest == first.digest
    assert run(a_table(seed=1), output=tmp_path / "out", overwrite=True).digest != first.digest


def test_a_failure_leaves_nothing_behind(run, tmp_path):
    with pytest.raises(DataError, match=r"none of 900 rows .*; first: table line 1: rating out of range"):
        run(a_table(), output=tmp_path / "out", ratings={"min": 90, "max": 100})
    assert not (tmp_path / "out").exists()


def test_a_preparation_that_was_broken_off_goes_on_with_the_same_rows(run, tmp_path):
    stages = []

    def interrupt(stage, done, _total, _rows):
        stages.append((stage, done))
        if stage == "collect users":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(a_table(), output=tmp_path / "out", progress=interrupt)
    left = [path.name for path in (tmp_path / "out").iterdir()]
    assert ("parse", 0) in stages
    assert left == ["preparing"]
    stages.clear()
    resumed = run(a_table(), output=tmp_path / "out", progress=lambda *told: stages.append(told[:2]))

    assert ("parse", 0) not in stages
    assert resumed.digest == run(a_table()).digest
    # Other rows are another preparation, although they are as many and as large.
    with pytest.raises(KeyboardInterrupt):
        run(a_table(), output=tmp_path / "other", progress=interrupt)
    table = a_table()
    other = table.set_column(2, "stars", pa.array(table["stars"].to_pylist()[::-1]))
    assert run(other, output=tmp_path / "other").digest == run(other).digest != resumed.digest


def test_what_a_killed_process_left_of_a_table_is_cleared_away(run, tmp_path):
    left = tmp_path / "out" / ".preparing.tables"
    left.mkdir(parents=True)
    (left / "table-00007.parquet").write_bytes(b"half")

    assert run(a_table(), output=tmp_path / "out").num_users == 40


def test_files_are_prepared_as_the_command_prepares_them(run, run_file, tmp_path, caplog):
    path = write_csv(tmp_path / "a.csv", a_table())

    assert run(path).digest == run_file(path).digest
    assert (
        run([str(path)], user=3, item="film", rating=2, timestamp=0).digest
        == run_file(path, overwrite=True).digest
    )
    assert not [record for record in caplog.records if "guess" in record.getMessage()]


def test_types_may_change_from_part_to_part(run, monkeypatch):
    """Columns of objects become what each chunk of them holds."""
    monkeypatch.setattr(tables, "CHUNK_ROWS", 1)
    given = pa.table({"member": ["a", "b"], "film": ["x", "y"], "stars": [1.0, 2.0]})
    kinds = {"member": [pa.array([7]), pa.array(["b"])]}

    class Changing:
        schema = given.schema

        def chunks(self, places):
            for row in range(2):
                columns = {name: given[name].slice(row, 1) for name in given.column_names}
                columns["member"] = kinds["member"][row]
                yield [columns[given.column_names[place]] for place in places]

    table = tables.Table(given.column_names, Changing().chunks)
    monkeypatch.setattr("recsys_dist.from_python.prepare.as_table", lambda _: table)

    dataset = run(given, timestamp=None, split={"test": 0, "valid": 0})

    assert sorted(dataset.user_ids) == ["7", "b"]


def test_the_manifest_tells_the_rules_and_nothing_of_the_table(run):
    manifest = json.loads(run(a_table()).manifest.to_bytes())

    assert manifest["rules"]["split.seed"] == 3
    assert "table" not in json.dumps(manifest)
