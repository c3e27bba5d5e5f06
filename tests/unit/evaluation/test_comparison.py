"""Paired differences of models on the same users."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from recsys_dist import compare_models, load_model
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.evaluation import comparison
from recsys_dist.evaluation.comparison import SAMPLES, ComparisonReport, compare, weighted_sums
from recsys_dist.evaluation.per_user import per_user_table, write_per_user
from recsys_dist.evaluation.report import EvaluationReport
from recsys_dist.evaluation.settings import EvaluationSettings
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset
from tests.support.ranking_model import ranking_predictor


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def paths(tmp_path_factory, dataset) -> list[str]:
    root = tmp_path_factory.mktemp("models")
    runs = {"one": mf_run(dataset), "two": mf_run(dataset, seed=1), "three": autorec_run(dataset, "items")}
    for name, run in runs.items():
        write_merged(run, dataset, root / name)
    return [str(root / name) for name in runs]


def test_reports_are_those_of_each_model_alone(paths, dataset):
    compared = compare_models(paths, dataset, top=[5, 10])

    fitted = {name: {"seconds"} for name in ("global_mean", "user_item_bias")}
    timed: dict[str, Any] = {"seconds": True, "baselines": fitted, "ranking": {"seconds"}}
    for path, report in zip(paths, compared.reports, strict=True):
        alone = load_model(path).evaluate(dataset, top=[5, 10])
        assert report.model_dump(exclude=timed) == alone.model_dump(exclude=timed)
    assert [(one.model, one.first) for one in compared.comparisons] == [(1, 0), (2, 0)]
    assert compared == compare_models([load_model(path) for path in paths], dataset, top=[5, 10]).model_copy(
        update={"reports": compared.reports}
    )


def test_a_difference_is_paired_by_user(paths, dataset):
    models = [load_model(path).predictor for path in paths[:2]]
    compared, evaluations = compare(models, dataset, EvaluationSettings(top=(10,)))

    found = compared.comparisons[0].differences
    assert list(found) == ["rmse", "ndcg@10", "truncated_recall@10"]
    one, two = (per_user_table(evaluation) for evaluation in evaluations)
    for name in ("ndcg@10", "truncated_recall@10"):
        change = two[name].drop_null().to_numpy() - one[name].drop_null().to_numpy()
        assert found[name].users == len(change)
        assert found[name].difference == pytest.approx(change.mean())
        # Normal, by the central limit theorem.
        half = norm.ppf(0.975) * change.std() / np.sqrt(len(change))
        assert found[name].low == pytest.approx(change.mean() - half, abs=0.15 * half)
        assert found[name].high == pytest.approx(change.mean() + half, abs=0.15 * half)
    rmse = [report.rmse for report in compared.reports]
    assert found["rmse"].difference == pytest.approx(rmse[1] - rmse[0])
    assert found["rmse"].low < found["rmse"].difference < found["rmse"].high
    assert found["rmse"].users == len(one)


def test_a_model_equals_itself(paths, dataset):
    found = compare_models([paths[0], paths[0]], dataset).comparisons[0].differences
    for one in found.values():
        assert (one.difference, one.low, one.high) == (0.0, 0.0, 0.0)


def test_samples_draw_as_many_users_with_replacement_in_pieces(monkeypatch):
    figure = np.stack([np.ones(30), np.arange(30.0)], 1)
    sums = weighted_sums(figure)
    assert sums.shape == (SAMPLES, 2)
    assert (sums[:, 0] == 30).all()
    assert sums[:, 1].mean() == pytest.approx(figure[:, 1].sum(), rel=0.01)
    assert sums[:, 1].std() == pytest.approx(figure[:, 1].std() * np.sqrt(30), rel=0.05)
    assert weighted_sums(np.empty((0, 2))).shape == (0, 2)
    monkeypatch.setattr(comparison, "DRAWS_AT_ONCE", 100)
    pieces = weighted_sums(figure)
    assert pieces.shape == sums.shape
    assert pieces[:, 1].mean() == pytest.approx(figure[:, 1].sum(), rel=0.01)


def test_errors_are_compared_only_where_all_predict(paths, dataset):
    models = [ranking_predictor(paths[1]), *(load_model(path).predictor for path in paths[:2])]
    compared, _ = compare(models, dataset, EvaluationSettings())
    for one in compared.comparisons:
        assert list(one.differences) == ["ndcg@10", "truncated_recall@10"]
    assert [len(report.baselines) for report in compared.reports] == [0, 2, 2]


def test_without_relevant_ratings_there_is_no_difference(paths, dataset):
    found = compare_models(paths[:2], dataset, relevant_from=99.0).comparisons[0].differences["ndcg@10"]
    assert (found.difference, found.low, found.high, found.users) == (None, None, None, 0)
    unranked = compare_models(paths[:2], dataset, ranking_users=0).comparisons[0].differences
    assert list(unranked) == ["rmse"]


def test_models_of_different_datasets_are_refused(tmp_path, paths, dataset):
    other = small_dataset(tmp_path / "other", num_ratings=2000)
    write_merged(mf_run(other), other, tmp_path / "model")

    with pytest.raises(
        ConfigError, match=r"one and .*model were trained on different datasets; compare models of"
    ):
        compare_models([paths[0], str(tmp_path / "model")], dataset)
    with pytest.raises(ConfigError, match="there is no model to compare"):
        compare_models([], dataset)


def test_a_comparison_is_a_file_a_table_and_no_report_of_one_model(tmp_path, paths, dataset):
    compared = compare_models(paths, dataset)
    compared.write(tmp_path / "compared.json")

    tree = json.loads((tmp_path / "compared.json").read_text())
    assert ComparisonReport.model_validate(tree) == compared
    assert tree["comparisons"][0]["differences"]["ndcg@10"]["users"] == tree["reports"][0]["ranking"]["users"]
    table = compared.to_arrow()
    assert table.num_rows == 6
    assert set(table["model"].to_pylist()) == set(paths[1:])
    assert f"{compared.comparisons[0].differences['rmse'].difference:+.4f}" in repr(compared)
    with pytest.raises(DataError, match=r"compared\.json compares several models; evaluate one alone"):
        EvaluationReport.read(tmp_path / "compared.json")


def test_users_of_several_models_are_in_one_file(tmp_path, paths, dataset):
    import pyarrow.parquet as pq

    models = [load_model(path).predictor for path in paths[:2]]
    _, evaluations = compare(models, dataset, EvaluationSettings())
    write_per_user(evaluations, tmp_path / "users.parquet")
    table = pq.read_table(tmp_path / "users.parquet")
    assert table["model"].unique().to_pylist() == paths[:2]
    assert len(table) == 2 * len(per_user_table(evaluations[0]))
