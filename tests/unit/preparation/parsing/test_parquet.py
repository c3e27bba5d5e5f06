import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.parsing import parquet
from recsys_dist.preparation.parsing.parquet import group_ranges, parse_parquet
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.input import FileSettings, RatingColumns
from recsys_dist.preparation.settings.prepare import RatingRules


def parquet_file(path, **columns):
    pq.write_table(pa.table(columns), path)
    return find_files("input.paths", [str(path)], FileSettings())[0]


def test_parquet_ids_are_exact_and_nulls_are_refused(tmp_path):
    file = parquet_file(
        tmp_path / "ratings.parquet",
        user=pa.array([2**64 - 1, 2**53 + 1, None, 7], pa.uint64()),
        item=pa.array(["007", "7", "x", "y"]).dictionary_encode(),
        rating=pa.array([1.0, float("nan"), 3.0, 4.5]),
        timestamp=pa.array([1, 2, 3, None]),
    )
    columns = RatingColumns(user="user", item="item", rating="rating", timestamp="timestamp")
    (block,) = parse_parquet(file, range(1), columns, RatingRules())
    assert block.rows.user.to_pylist() == [str(2**64 - 1)]
    assert block.rows.item.to_pylist() == ["007"]
    assert block.rejects.line.tolist() == [2, 3, 4]
    assert block.rejects.reason.tolist() == [Reason.NOT_A_NUMBER, Reason.EMPTY_USER, Reason.TIMESTAMP]


def test_parquet_with_unusable_columns_is_an_error(tmp_path):
    columns = RatingColumns(user="user", item="item", rating="rating")
    file = parquet_file(tmp_path / "a.parquet", user=[1.5], item=[1], rating=[1])
    with pytest.raises(
        DataError, match=r"columns\.user: 'user' of .* is double; it must hold whole numbers or text"
    ):
        list(parse_parquet(file, range(1), columns, RatingRules()))
    file = parquet_file(tmp_path / "b.parquet", user=[1], item=[1])
    with pytest.raises(DataError, match=r"columns\.rating: .* has no column 'rating'; it has: user, item"):
        list(parse_parquet(file, range(1), columns, RatingRules()))
    (tmp_path / "c.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(DataError, match="is not a usable Parquet file"):
        group_ranges(find_files("k", [str(tmp_path / "c.parquet")], FileSettings())[0], 1 << 20)


def test_row_groups_are_cut_into_ranges_that_cover_them_once(tmp_path):
    path = tmp_path / "ratings.parquet"
    pq.write_table(pa.table({"user": range(1000)}), path, row_group_size=100)
    file = find_files("input.paths", [str(path)], FileSettings())[0]
    group_bytes = pq.ParquetFile(path).metadata.row_group(0).total_byte_size
    assert group_ranges(file, 1) == [(group, group + 1) for group in range(10)]
    assert group_ranges(file, 4 * group_bytes) == [(0, 4), (4, 8), (8, 10)]
    assert group_ranges(file, 1 << 30) == [(0, 10)]


def test_a_range_of_row_groups_holds_one_batch_unless_a_group_is_larger(tmp_path, monkeypatch):
    path = tmp_path / "ratings.parquet"
    with pq.ParquetWriter(path, pa.schema([("user", pa.int64())])) as writer:
        for num_rows in (100, 100, 300, 50, 100, 100):
            writer.write_table(pa.table({"user": range(num_rows)}))
    file = find_files("input.paths", [str(path)], FileSettings())[0]
    monkeypatch.setattr(parquet, "BATCH_ROWS", 250)
    assert group_ranges(file, 1 << 30) == [(0, 2), (2, 3), (3, 6)]


@pytest.mark.parametrize("ids", [pa.array(range(100)), pa.array([f"user {n}" for n in range(100)])])
@pytest.mark.parametrize("num_nulls", [0, 1])
def test_stretches_of_equal_ids_are_read_as_single_ids(tmp_path, ids, num_nulls):
    random = np.random.default_rng(0)
    places = np.repeat(random.integers(0, 100, 500), random.integers(1, 100, 500))
    column = ids.take(pa.array(places, mask=np.arange(len(places)) < num_nulls))
    file = parquet_file(tmp_path / "a.parquet", user=column, item=column, rating=np.ones(len(column)))
    columns = RatingColumns(user="user", item="item", rating="rating")
    (block,) = parse_parquet(file, range(1), columns, RatingRules())
    known = [str(one) for one in column.to_pylist() if one is not None]
    assert block.rows.user.to_pylist() == block.rows.item.to_pylist() == known
    assert set(block.rows.user.dictionary.to_pylist()) - {""} == set(known)
    assert len(block.rows.user.dictionary) <= len(set(known)) + num_nulls
    assert block.rejects.line.tolist() == list(range(1, num_nulls + 1))
