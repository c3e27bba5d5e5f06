"""Tables written as text are read back by Python's own reader, whatever their texts contain."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_dist.errors import ConfigError
from recsys_dist.inference.tables.writing import table_writer

TEXTS = st.one_of(
    st.none(), st.text(alphabet='ab,\t" \r\né', max_size=6), st.text(max_size=4).filter(str.isprintable)
)
SEPARATORS = {".csv": ",", ".tsv": "\t"}


@given(
    rows=st.lists(
        st.tuples(TEXTS, TEXTS, st.floats(width=32, allow_nan=False, allow_infinity=False)), max_size=20
    ),
    ending=st.sampled_from(sorted(SEPARATORS)),
    num_blocks=st.integers(1, 3),
)
def test_text_is_read_back(rows, ending, num_blocks):
    first, second, number = ([row[place] for row in rows] for place in range(3))
    table = pa.table(
        {
            "a,b": pa.array(first, pa.string()),
            'c"': pa.array(second, pa.string()),
            "n": pa.array(number, pa.float32()),
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"out{ending}"
        with table_writer(path) as write:
            for start in np.linspace(0, len(table), num_blocks, endpoint=False).astype(int).tolist():
                write(table.slice(start, -(-len(table) // num_blocks)))
        with path.open(encoding="utf-8", newline="") as stream:
            head, *found = list(csv.reader(stream, delimiter=SEPARATORS[ending]))

    assert head == table.column_names
    wanted = [[first[row] or "", second[row] or "", number[row]] for row in rows_of(len(table), num_blocks)]
    assert [[*row[:2], float(np.float32(row[2]))] for row in found] == wanted


def rows_of(count: int, num_blocks: int) -> list[int]:
    """The rows that the blocks of the test contain."""
    starts = np.linspace(0, count, num_blocks, endpoint=False).astype(int).tolist()
    return [row for start in starts for row in range(count)[start : start + -(-count // num_blocks)]]


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_file_appears_when_it_is_complete(tmp_path, ending):
    path, block = tmp_path / f"out{ending}", pa.table({"x": [1]})
    with pytest.raises(ZeroDivisionError):
        write_and_fail(path, block)
    assert list(tmp_path.iterdir()) == []

    with table_writer(path) as write:
        write(block)
        write(block)
        assert not path.exists()
    assert (
        (path.read_text() == "x\n1\n1\n") if ending == ".csv" else (pq.read_table(path)["x"].to_pylist() == [1, 1])
    )


def test_values_are_written_as_they_are_read(tmp_path):
    columns = {
        "flag": [True, None],
        "number": pa.array([0.1, 3.0], pa.float32()),
        "large": pa.array([2**63, 1], pa.uint64()),
        "when": pa.array([0, 1], pa.timestamp("s")),
    }
    with table_writer(tmp_path / "out.tsv") as write:
        write(pa.table(columns))
    lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert lines[1:] == ["true\t0.1\t9223372036854775808\t1970-01-01 00:00:00", "\t3\t1\t1970-01-01 00:00:01"]
    nested = pa.table({"x": [[1]]})
    with pytest.raises(ConfigError, match=r"text cannot hold column 'x' of type list<.*>; write \.parquet"):
        write_and_fail(tmp_path / "other.csv", nested)


def write_and_fail(path: Path, block: pa.Table) -> None:
    with table_writer(path) as write:
        write(block)
        raise ZeroDivisionError
