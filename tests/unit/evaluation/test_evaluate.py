"""The report against brute force over the same ratings."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import ndcg_score

from recsys_dist import load_model
from recsys_dist.errors import CheckpointError, ConfigError, DataError
from recsys_dist.evaluation.baselines import BiasModel
from recsys_dist.evaluation.report import Allowed, Errors, EvaluationReport
from tests.support.merged import autorec_run, mf_run, train_matrix, write_merged
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset

BASELINES = ("global_mean", "user_item_bias")


def evaluate(path: str, url: str, split: str = "test", verify: bool = True, **options) -> EvaluationReport:
    return load_model(path, verify=verify).evaluate(url, split, **options)


def held_out(dataset, split: str = "test") -> tuple[np.ndarray, ...]:
    parts = [dataset.ratings(split, shard) for shard in range(len(dataset.shards("users")))]
    return tuple(
        np.concatenate([getattr(part, name) for part in parts]) for name in ("user_index", "item_index", "rating")
    )


def rmse(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error.astype(np.float64) ** 2)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Users 0..4 and items 50..59 have no train rating."""
    user, item, rating = low_rank_ratings(80, 60, 2500)
    draw = np.random.default_rng(1).random(len(user))
    split = np.where((user < 5) | (item >= 50) | (draw < 0.2), 2, np.where(draw < 0.3, 1, 0))
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", user, item, rating, split)


@pytest.fixture(scope="module", params=["mf", "items", "users"])
def path(request, tmp_path_factory, dataset) -> str:
    path = tmp_path_factory.mktemp("models") / "model"
    run = mf_run(dataset, noise="both") if request.param == "mf" else autorec_run(dataset, request.param)
    write_merged(run, dataset, path)
    return str(path)


@pytest.mark.parametrize("split", ["test", "valid"])
def test_errors_are_over_all_ratings_and_cold_ones_apart(path, dataset, split):
    report = evaluate(path, dataset.folder.url, split)

    user, item, rating = held_out(dataset, split)
    error = load_model(path).predict_indices(user, item) - rating
    assert report.count == len(rating) == dataset.manifest.num_ratings[split]
    assert report.rmse == pytest.approx(rmse(error), rel=1e-9)
    assert report.mae == pytest.approx(np.abs(error.astype(np.float64)).mean(), rel=1e-9)
    for name, cold in (("cold_users", user < 5), ("cold_items", item >= 50)):
        assert getattr(report, name).count == cold.sum()
        assert getattr(report, name).rmse == (pytest.approx(rmse(error[cold]), rel=1e-9) if cold.any() else None)
    assert (report.cold_users.count > 0) == (split == "test")


def test_baselines_are_fitted_on_train_alone(path, dataset):
    report = evaluate(path, dataset.folder.url, ranking_users=0)

    user, item, rating = held_out(dataset)
    train = train_matrix(dataset)
    biases = BiasModel.fit(
        lambda: (dataset.block("users", shard) for shard in range(len(dataset.shards("users")))), *train.shape
    )
    assert report.baselines["global_mean"].rmse == pytest.approx(rmse(np.nanmean(train) - rating), rel=1e-9)
    expected = rmse(biases.predict(user, item).clip(1, 5) - rating)
    assert report.baselines["user_item_bias"].rmse == pytest.approx(expected, rel=1e-9)
    assert report.ranking is None


@pytest.mark.parametrize("path", ["items", "users"], indirect=True)
def test_a_model_that_knows_no_uncertainty_is_not_judged_by_it(path, dataset):
    assert not load_model(path).knows_uncertainty
    assert evaluate(path, dataset.folder.url, ranking_users=0).uncertainty is None


@pytest.mark.parametrize("path", ["mf"], indirect=True)
def test_uncertainty_is_judged_by_all_held_out_ratings(path, dataset):
    told = evaluate(path, dataset.folder.url, ranking_users=0).uncertainty

    model = load_model(path)
    user, item, rating = held_out(dataset)
    ids = [f"u{index}" for index in user], [f"i{index}" for index in item]
    assert told.count == len(rating)
    for coverage in ("0.5", "0.8", "0.9", "0.95"):
        low, high = model.predict_interval(*ids, coverage=float(coverage))
        assert told.coverage[coverage] == ((low <= rating) & (rating <= high)).mean()
    normal = norm(model.predict_indices(user, item, clip=False).astype(float), model.predict(*ids, True)[1])
    assert told.nll == pytest.approx(-normal.logpdf(rating).mean(), rel=1e-6)
    probability, grid = model.predict_probabilities(*ids)
    cell = np.searchsorted(grid, rating)
    expected = -np.log(probability[np.arange(len(cell)), cell].astype(float)).mean()
    assert told.log_loss == pytest.approx(expected, rel=1e-5)


def test_without_a_grid_there_is_no_log_loss(tmp_path):
    user, item, rating = low_rank_ratings(80, 60, 2500)
    rating = np.clip(rating + np.random.default_rng(0).normal(0, 0.1, len(rating)), 1, 5)
    fine = write_dataset(tmp_path / "dataset", user, item, rating, np.arange(len(user)) % 3)
    write_merged(mf_run(fine), fine, tmp_path / "model")

    told = evaluate(str(tmp_path / "model"), fine.folder.url, ranking_users=0).uncertainty

    assert told.log_loss is None
    assert told.nll > 0


def brute_force_ranking(path: str, dataset, relevant_from: float) -> tuple[float, float, int]:
    """Recall and nDCG at 10, with scikit-learn, over every user with a liked held-out item."""
    model, train = load_model(path), train_matrix(dataset)
    user, item, rating = held_out(dataset)
    recalls, ndcgs = [], []
    for one in np.unique(user[rating >= relevant_from]):
        scores = model.predict_indices(np.full(train.shape[1], one), np.arange(train.shape[1]), clip=False)
        unseen = np.flatnonzero(np.isnan(train[one]))
        relevant = np.isin(unseen, item[(user == one) & (rating >= relevant_from)])
        # Equal scores go by item.
        order = np.argsort(-scores[unseen], kind="stable")
        place = np.empty(len(unseen))
        place[order] = np.arange(len(unseen), 0, -1)
        recalls.append(relevant[order[:10]].sum() / relevant.sum())
        ndcgs.append(ndcg_score(relevant[None], place[None], k=10))
    return float(np.mean(recalls)), float(np.mean(ndcgs)), len(recalls)


@pytest.mark.parametrize("relevant_from", [None, 4.5])
def test_ranking_equals_brute_force(path, dataset, relevant_from):
    ranking = evaluate(path, dataset.folder.url, relevant_from=relevant_from).ranking

    recall, ndcg, users = brute_force_ranking(path, dataset, relevant_from or dataset.manifest.rating.mean)
    assert ranking.users == ranking.eligible_users == users
    assert ranking.at(10).recall == pytest.approx(recall, abs=1e-12)
    assert ranking.at(10).ndcg == pytest.approx(ndcg, abs=1e-12)


def test_a_sample_of_users_is_the_same_every_time_and_reported(path, dataset):
    one, other = (evaluate(path, dataset.folder.url, ranking_users=10).ranking for _ in range(2))

    assert one.users == 10 < one.eligible_users
    assert one.cuts == other.cuts
    assert one.baselines == other.baselines


def test_another_dataset_is_matched_by_raw_ids(tmp_path, path, dataset):
    """The same held-out pairs beside people and items that the model does not know."""
    user, item, rating = held_out(dataset)
    split = np.full(len(user), 2)

    def beside(name: str, user_index: list[int], item_index: list[int], splits: list[int]):
        return write_dataset(
            tmp_path / name,
            np.append(user, user_index),
            np.append(item, item_index),
            np.append(rating, np.full(len(splits), 4.0)),
            np.append(split, splits),
            num_shards=3,
        )

    same, more = beside("same", [99], [70], [0]), beside("more", [99, 98], [70, 71], [0, 2])

    reports = [evaluate(path, url.folder.url, allow_other_split=True) for url in (dataset, same, more)]

    assert [report.dataset.is_trained_on for report in reports] == [True, False, False]
    assert [report.allowed.other_split for report in reports] == [False, True, True]
    assert reports[1].rmse == pytest.approx(reports[0].rmse, rel=1e-12)
    assert reports[1].ranking.at(10).ndcg == pytest.approx(reports[0].ranking.at(10).ndcg, rel=1e-12)
    assert reports[2].count == reports[0].count + 1
    assert reports[2].cold_users.count == reports[0].cold_users.count + 1
    assert reports[2].ranking.users == reports[0].ranking.users


def test_a_liked_item_that_was_rated_in_training_is_not_wanted_in_the_list(tmp_path, path, dataset):
    """A later export holds train ratings among its test ratings: these items are left out of every list."""
    user, item, rating = held_out(dataset)
    train_user, train_item = np.nonzero(~np.isnan(train_matrix(dataset)))
    later = write_dataset(
        tmp_path / "later",
        np.concatenate([user, train_user, [99]]),
        np.concatenate([item, train_item, [70]]),
        np.concatenate([rating, np.full(len(train_user) + 1, 5.0)]),
        np.concatenate([np.full(len(user) + len(train_user), 2), [0]]),
    )

    plain, mixed = (evaluate(path, one.folder.url, allow_other_split=True).ranking for one in (dataset, later))

    assert mixed.users == plain.users
    assert mixed.cuts[0].model_dump() == pytest.approx(plain.cuts[0].model_dump(), rel=1e-12)


def approximately(tree):
    """The same tree, with numbers that may differ by rounding."""
    if isinstance(tree, dict):
        return {key: approximately(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [approximately(value) for value in tree]
    return pytest.approx(tree, rel=1e-9) if isinstance(tree, float) else tree


def test_pairs_that_were_trained_on_do_not_count(tmp_path, path, dataset):
    """Another split of the same ratings: its test ratings are partly train ratings of the model."""
    user, item, rating = held_out(dataset)
    train = train_matrix(dataset)
    train_user, train_item = (index[::3] for index in np.nonzero(~np.isnan(train)))
    known = train[train_user, train_item]
    later = write_dataset(
        tmp_path / "later",
        np.concatenate([user, train_user, [99]]),
        np.concatenate([item, train_item, [70]]),
        np.concatenate([rating, known, [5.0]]),
        np.concatenate([np.full(len(user) + len(train_user), 2), [0]]),
        num_shards=3,
    )

    plain, mixed = (evaluate(path, one.folder.url, allow_other_split=True) for one in (dataset, later))

    error = load_model(path).predict_indices(train_user, train_item) - known
    assert plain.trained_on == Errors(rmse=None, mae=None, count=0)
    assert mixed.trained_on.count == len(known)
    assert mixed.trained_on.rmse == pytest.approx(rmse(error), rel=1e-6)
    assert (mixed.uncertainty is None) == (plain.uncertainty is None)
    parts = ("cold_users", "cold_items", "ranking", *(["uncertainty"] if plain.uncertainty else []))
    for part in parts:
        found, expected = (getattr(report, part).model_dump(exclude={"seconds"}) for report in (mixed, plain))
        assert json.loads(json.dumps(found)) == approximately(json.loads(json.dumps(expected)))
    for figures, honest in ((mixed, plain), *((mixed.baselines[n], plain.baselines[n]) for n in BASELINES)):
        assert figures.count == honest.count
        assert figures.rmse == pytest.approx(honest.rmse, rel=1e-9)


def test_a_damaged_model_is_not_evaluated_unless_told_so(tmp_path, dataset):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    table = tmp_path / "model" / "items" / "00000.safetensors"
    table.write_bytes(table.read_bytes()[:-3] + b"\x00\x00\x01")

    with pytest.raises(CheckpointError, match=r"items/00000\.safetensors is damaged"):
        evaluate(str(tmp_path / "model"), dataset.folder.url)
    evaluate(str(tmp_path / "model"), dataset.folder.url, verify=False)


def test_a_split_without_ratings_is_an_error(tmp_path, path):
    user, item, rating = low_rank_ratings(80, 60, 500)
    empty = write_dataset(tmp_path / "empty", user, item, rating, np.zeros(len(user)), 80, 60)

    with pytest.raises(DataError, match="no test ratings"):
        evaluate(path, empty.folder.url, allow_other_split=True)
    with pytest.raises(ConfigError, match="split 'best' is unknown"):
        evaluate(path, empty.folder.url, "best")


def test_what_was_trained_on_is_scored_only_when_asked_for(path, dataset):
    with pytest.raises(ConfigError, match=r"split 'train' is not held out; .* --allow-train"):
        evaluate(path, dataset.folder.url, "train")
    with pytest.raises(ConfigError, match="--allow-train goes with --split train"):
        evaluate(path, dataset.folder.url, "test", allow_train=True)

    report = evaluate(path, dataset.folder.url, "train", allow_train=True)

    user, item, rating = held_out(dataset, "train")
    assert report.count == len(rating) == dataset.manifest.num_ratings["train"]
    error = load_model(path).predict_indices(user, item) - rating
    assert report.rmse == pytest.approx(rmse(error), rel=1e-9)
    assert report.allowed == Allowed(train=True, other_split=False)
    assert (report.trained_on.count, report.ranking) == (0, None)


def test_another_split_is_refused_and_the_same_in_another_form_is_not(tmp_path, path, dataset):
    parts = [held_out(dataset, split) for split in ("train", "valid", "test")]
    user, item, rating = (np.concatenate(column) for column in zip(*parts, strict=True))
    split = np.repeat([0, 1, 2], [len(part[0]) for part in parts])
    recut = write_dataset(tmp_path / "recut", user, item, rating, split, 80, 60, num_shards=2)
    swapped = write_dataset(tmp_path / "swapped", user, item, rating, 2 - split, 80, 60)

    report, plain = evaluate(path, recut.folder.url), evaluate(path, dataset.folder.url)
    assert (report.dataset.is_trained_on, report.dataset.is_same_split) == (False, True)
    assert report.allowed == Allowed(train=False, other_split=False)
    assert (report.count, report.trained_on.count) == (plain.count, 0)
    assert report.rmse == pytest.approx(plain.rmse, rel=1e-12)
    with pytest.raises(ConfigError, match=r"swapped has other ratings, .*; .* --allow-other-split"):
        evaluate(path, swapped.folder.url)
    assert evaluate(path, swapped.folder.url, allow_other_split=True, ranking_users=0).count == 0


def test_damaged_held_out_ratings_are_refused(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    shard = tmp_path / "dataset" / "ratings" / "test" / "00002.parquet"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)

    with pytest.raises(DataError, match=r"ratings/test/00002\.parquet is damaged"):
        evaluate(str(tmp_path / "model"), str(tmp_path / "dataset"))


@pytest.mark.parametrize("rating", [float("nan"), float("inf")])
def test_what_is_no_rating_is_relevant_from_nowhere(path, dataset, rating):
    with pytest.raises(ConfigError, match="is not a rating; use a finite number"):
        evaluate(path, dataset.folder.url, relevant_from=rating)


def test_the_report_is_json_with_null_where_nothing_was_counted(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")
    write_merged(mf_run(dataset), dataset, tmp_path / "model")

    report = evaluate(str(tmp_path / "model"), str(tmp_path / "dataset"), relevant_from=99.0)
    report.write(tmp_path / "report.json")

    told = json.loads((tmp_path / "report.json").read_text())
    assert told["cold_users"] == {"rmse": None, "mae": None, "count": 0}
    assert told["ranking"]["cuts"][0]["recall"] is None
    assert told == report.model_dump(mode="json")
    assert EvaluationReport.read(tmp_path / "report.json") == report
