"""The ratings that benchmarks/billion.py is measured on."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq

from benchmarks import billion_ratings
from benchmarks.billion_ratings import Population, write_file


def test_as_many_ratings_as_asked_for_and_the_error_of_the_true_model(tmp_path, monkeypatch):
    monkeypatch.setattr(billion_ratings, "CHUNK_DRAWS", 20_000)
    monkeypatch.setattr(billion_ratings, "CHUNKS_PER_FILE", 3)
    population = Population(num_users=2000, num_items=3000, num_ratings=200_000, seed=1)

    files = range(-(-len(population.chunks) // 3))
    written = [write_file(population, tmp_path, file) for file in files]

    tables = [pq.read_table(path) for path in sorted(tmp_path.glob("*.parquet"))]
    assert [len(table) for table in tables] == [num_rows for num_rows, _ in written]
    num_rows, squared = (sum(column) for column in zip(*written, strict=True))
    assert abs(num_rows - 200_000) < 2_000
    # Noise of .75 and rounding to halves; clipping takes some of both away.
    assert 0.7 < np.sqrt(squared / num_rows) < np.sqrt(0.75**2 + 0.5**2 / 12)
    users = [table["user"].to_numpy() for table in tables]
    assert len(np.unique(np.concatenate(users))) == sum(len(np.unique(user)) for user in users) == 2000
    for table, user in zip(tables, users, strict=True):
        assert len(np.unique(user * 10_000 + table["item"].to_numpy())) == len(table)
        assert set(table["rating"].to_pylist()) <= set(np.arange(1, 11) / 2)


def test_a_chunk_depends_on_the_seed_alone():
    sizes = {"num_users": 300, "num_items": 500, "num_ratings": 9_000}
    first, again, other = (Population(**sizes, seed=seed).chunk(0) for seed in (1, 1, 2))

    assert first[0].equals(again[0])
    assert first[1] == again[1]
    assert not first[0].equals(other[0])
