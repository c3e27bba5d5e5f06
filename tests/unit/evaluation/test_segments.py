"""Segments against masks over the same ratings, and the file of each user."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist import load_model
from recsys_dist.errors import ConfigError
from recsys_dist.evaluation.evaluate import measure
from recsys_dist.evaluation.per_user import per_user_table
from recsys_dist.evaluation.segments import Segments, ValueSegments
from recsys_dist.evaluation.settings import EvaluationSettings
from recsys_dist.metrics import METRICS
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.ranking_model import ranking_predictor


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Users 0..4 and items 50..59 have no train rating."""
    user, item, rating = low_rank_ratings(80, 60, 2500)
    draw = np.random.default_rng(1).random(len(user))
    split = np.where((user < 5) | (item >= 50) | (draw < 0.2), 2, 0)
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", user, item, rating, split)


@pytest.fixture(scope="module")
def path(tmp_path_factory, dataset) -> str:
    path = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset), dataset, path)
    return str(path)


@pytest.fixture(scope="module")
def evaluation(path, dataset):
    return measure(load_model(path).predictor, dataset, EvaluationSettings(top=(3, 10)))


@pytest.fixture(scope="module")
def ratings(path, dataset):
    """Users, items, ratings and errors."""
    parts = [dataset.ratings("test", shard) for shard in range(len(dataset.shards("users")))]
    names = ("user_index", "item_index", "rating")
    user, item, rating = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    return user, item, rating, load_model(path).predict_indices(user, item).astype(float) - rating


def columns(table: pa.Table) -> dict[str, np.ndarray]:
    """Numbers, NaN where null."""
    return {name: table[name].to_numpy() for name in table.column_names if name != "user_id"}


def assert_errors(errors, error: np.ndarray) -> None:
    assert errors.count == len(error) > 0
    assert errors.rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-9)
    assert errors.mae == pytest.approx(np.abs(error).mean(), rel=1e-9)


def test_errors_of_segments_are_those_of_their_ratings(evaluation, dataset, ratings):
    user, item, rating, error = ratings
    segments = evaluation.report.segments
    of_each = {
        "users": dataset.num_train("users")[user],
        "items": dataset.num_train("items")[item],
        "ratings": rating,
    }
    for name, value in of_each.items():
        parts = getattr(segments, name)
        for part in parts:
            assert_errors(part.errors, error[(value >= part.low) & (value <= part.high)])
        assert sum(part.errors.count for part in parts) == len(error)
        assert [part.low for part in parts] == sorted(part.low for part in parts)
    for parts in (segments.users, segments.items):
        assert (parts[0].low, parts[0].high) == (0, 0)
        assert len(parts) == 5
    assert [part.low for part in segments.ratings] == sorted(set(rating.tolist()))


def test_lists_of_segments_add_up_to_those_of_all(evaluation, dataset):
    report = evaluation.report
    for number, cut in enumerate(report.ranking.cuts):
        users = report.segments.users
        for name in METRICS:
            total = sum(
                part.ranked_users * getattr(part.cuts[number], name) for part in users if part.ranked_users
            )
            assert total / report.ranking.users == pytest.approx(getattr(cut, name))
        items = report.segments.items
        assert sum(part.cuts[number].listed for part in items) == pytest.approx(1)
        assert sum(part.num_items for part in items) == dataset.num_items
    table = columns(per_user_table(evaluation))
    hits = np.nansum(table["recall@10"] * table["num_relevant"])
    found = sum(part.cuts[1].recall * part.relevant for part in items)
    assert sum(part.relevant for part in items) == np.nansum(table["num_relevant"])
    assert found == pytest.approx(hits)


def test_quarters_are_even_and_equal_numbers_stay_together():
    users = Segments.of_users(np.append(np.arange(101), 0))
    assert users.low_S.tolist() == [0, 1, 26, 51, 76]
    assert users.high_S.tolist() == [0, 25, 50, 75, 100]
    assert users.num_rows_S.tolist() == [1, 25, 25, 25, 25]
    items = Segments.of_items(np.array([100] + [1] * 100 + [0]))
    assert items.num_rows_S.tolist() == [0, 100, 1]
    assert items.high_S.tolist() == [0, 1, 100]
    alike = Segments.of_users(np.array([3, 3, 3, 0]))
    assert (alike.low_S.tolist(), alike.num_rows_S.tolist()) == ([0, 3], [0, 3])


def test_many_distinct_ratings_are_cut_into_ranges(tmp_path):
    user, item, rating = low_rank_ratings(80, 60, 2500)
    rating = np.clip(rating + np.random.default_rng(0).normal(0, 0.1, len(rating)), 1, 5)
    fine = write_dataset(tmp_path / "dataset", user, item, rating, np.arange(len(user)) % 3)
    write_merged(mf_run(fine), fine, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    values = ValueSegments.of(model.catalog)
    parts = model.evaluate(fine, ranking_users=0).segments

    assert len(values) == 5
    assert values.find(np.array([0.0, 1.0, 5.0, 6.0])).tolist() == [0, 0, 4, 4]
    assert sum(part.errors.count for part in parts.ratings) == fine.manifest.num_ratings["test"]
    assert [part.cuts for part in parts.users] == [()] * len(parts.users)
    assert [part.cuts for part in parts.items] == [()] * len(parts.items)


def test_the_file_of_each_user_holds_what_the_means_are_of(tmp_path, path, dataset, ratings):
    user, _, _, error = ratings
    report = load_model(path).evaluate(dataset, top=(3, 10), ranking_users=20, per_user=tmp_path / "users.parquet")

    table = pq.read_table(tmp_path / "users.parquet")
    found = columns(table)
    assert table["user_id"].to_pylist() == [f"u{index}" for index in np.unique(user)]
    assert found["num_ratings"].sum() == len(error)
    for row, index in enumerate(np.unique(user)):
        assert found["rmse"][row] == pytest.approx(np.sqrt(np.mean(error[user == index] ** 2)))
        assert found["num_train"][row] == dataset.num_train("users")[index]
    for cut in report.ranking.cuts:
        for name in METRICS:
            assert np.nanmean(found[f"{name}@{cut.top}"]) == pytest.approx(getattr(cut, name))
            assert table[f"{name}@{cut.top}"].null_count == len(table) - 20
    assert table["num_relevant"].null_count == len(table) - 20


def test_a_model_that_ranks_has_no_errors_by_user(path, dataset):
    table = per_user_table(measure(ranking_predictor(path), dataset, EvaluationSettings()))
    assert table["rmse"].null_count == len(table)
    assert table["ndcg@10"].null_count < len(table)
    unranked = per_user_table(measure(ranking_predictor(path), dataset, EvaluationSettings(ranking_users=0)))
    assert unranked.column_names == ["user_id", "num_train", "num_ratings", "rmse"]


def test_a_file_that_cannot_be_written_is_refused_before_the_work(tmp_path, path):
    (tmp_path / "folder.parquet").mkdir()
    for name, reason in (
        ("users.csv", r"must end in \.parquet"),
        ("folder.parquet", "this is not a file"),
        ("nowhere/users.parquet", "there is no folder"),
    ):
        with pytest.raises(ConfigError, match=rf"--per-user .*{reason}"):
            load_model(path).evaluate("no dataset", per_user=tmp_path / name)
