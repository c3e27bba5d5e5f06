"""Titles from Parquet files, by name and by position."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.parsing.titles import find_titles, find_titles_files, read_titles
from recsys_dist.preparation.settings.input import ItemsSettings


@pytest.mark.parametrize(
    "shape",
    [
        {"columns": {"item": "id", "title": "name"}},
        {"columns": {"item": 1, "title": 2}, "header": False},
        {"columns": {"item": 1, "title": "name"}, "format": "parquet"},
    ],
)
def test_titles_of_parquet_by_name_and_by_position(tmp_path, shape):
    path = tmp_path / "movies.parquet"
    pq.write_table(pa.table({"year": [1, 2], "id": [7, 8], "name": ["Amélie", "M"]}), path, row_group_size=1)
    settings = ItemsSettings.model_validate({"paths": str(path), **shape})
    known = read_titles(find_titles_files(settings), settings)
    assert known is not None
    assert find_titles(known.table, pa.array(["8", "07", "7"], pa.large_string())).to_pylist() == [
        "M",
        None,
        "Amélie",
    ]


def test_a_missing_column_of_titles_is_named(tmp_path):
    path = tmp_path / "movies.parquet"
    pq.write_table(pa.table({"id": [7]}), path)
    shape = {"header": False, "columns": {"item": 0, "title": 1}}
    settings = ItemsSettings.model_validate({"paths": str(path), **shape})
    with pytest.raises(DataError, match=r"items\.columns\.title: .*movies\.parquet has no column 1; it has: id"):
        read_titles(find_titles_files(settings), settings)
