"""Users that were held out whole: folded in from some of their ratings, judged by the others."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recsys_dist import load_model
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.hashing import pair_hashes, text_hashes
from recsys_dist.dataset.manifest import MANIFEST, SplitInfo
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError
from recsys_dist.evaluation.evaluate import measure
from recsys_dist.evaluation.per_user import per_user_table
from recsys_dist.evaluation.settings import EvaluationSettings
from recsys_dist.families.tuning_holdout import LEAST_RATINGS, can_judge
from recsys_dist.merging import merge
from recsys_dist.metrics import list_metrics
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run import train
from tests.support.merged import autorec_run, mf_run, train_matrix, write_merged
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.ranking_model import ranking_predictor

SHARE, SEED = 0.6, 3


def users_dataset(
    path, num_shards: int = 4, share: float = SHARE, test_users: int = 20, valid_users: int = 0
) -> Dataset:
    """All ratings of the first 20 of 80 users are test ratings, by a rule of kind `users`."""
    user, item, rating = low_rank_ratings(80, 60, 2500)
    codes = np.where(user < test_users, 2, np.where(user < test_users + valid_users, 1, 0))
    dataset = write_dataset(path, user, item, rating, codes, 80, 60, num_shards)
    rule = {"kind": "users", "test": 0.25, "valid": 0.0, "fold_in_share": share, "seed": SEED}
    split = SplitInfo(rule=rule, fingerprint=dataset.manifest.split.fingerprint)
    dataset.folder.write_bytes(MANIFEST, dataset.manifest.model_copy(update={"split": split}).to_bytes())
    return Dataset.open(str(path))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    return users_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module", params=["mf", "items", "users"])
def path(request, tmp_path_factory, dataset) -> str:
    path = tmp_path_factory.mktemp("models") / "model"
    run = mf_run(dataset, noise="both") if request.param == "mf" else autorec_run(dataset, request.param)
    write_merged(run, dataset, path)
    return str(path)


def drawn(user: np.ndarray, item: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Whether each pair is folded in, from the raw ids alone."""
    hashes = [
        text_hashes(pa.array([f"{letter}{index}" for index in of.tolist()], pa.large_string()))
        for letter, of in (("u", user), ("i", item))
    ]
    return pair_hashes(SEED, *hashes) < np.uint64(int(share * 2**64))


def held_out(dataset: Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    parts = [dataset.ratings("test", shard) for shard in range(len(dataset.shards("users")))]
    names = ("user_index", "item_index", "rating")
    user, item, rating = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    return user, item, rating


def test_errors_and_lists_are_those_of_folded_in_users(path, dataset):
    report = load_model(path).evaluate(dataset, top=[5, 10])

    model, (user, item, rating) = load_model(path), held_out(dataset)
    is_drawn, threshold = drawn(user, item), dataset.manifest.rating.mean
    assert 0.5 < is_drawn.mean() < 0.7
    errors, metrics = [], []
    for one in np.unique(user):
        mine, other = (user == one) & is_drawn, (user == one) & ~is_drawn
        folded = model.fold_in([f"i{index}" for index in item[mine]], rating[mine])
        errors.append(folded.predict([f"i{index}" for index in item[other]]) - rating[other])
        relevant = {f"i{index}" for index in item[other & (rating >= threshold)]}
        listed = folded.recommend(10).item_ids
        if relevant:
            hits = np.array([[item_id in relevant for item_id in listed]])
            metrics.append(list_metrics(hits, np.array([len(relevant)]), (5, 10))[0])
    error = np.concatenate(errors).astype(float)
    assert report.count == len(error) == (~is_drawn).sum()
    assert report.rmse == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-6)
    assert report.ranking.users == len(metrics)
    assert report.ranking.at(10).ndcg == pytest.approx(np.mean(metrics, axis=0)[1, -1], abs=1e-9)
    assert report.fold_in.model_dump() == {"share": SHARE, "users": 20, "ratings": is_drawn.sum()}
    assert report.cold_users.count == 0
    assert report.baselines["user_item_bias"].rmse < report.baselines["global_mean"].rmse


@pytest.mark.parametrize("path", ["mf"], indirect=True)
def test_uncertainty_and_users_are_judged_by_the_same_ratings(path, dataset):
    evaluation = measure(load_model(path).predictor, dataset, EvaluationSettings())

    user, item, _ = held_out(dataset)
    is_drawn = drawn(user, item)
    assert evaluation.report.uncertainty.count == (~is_drawn).sum()
    (third,) = per_user_table(evaluation).filter(pc.field("user_id") == "u3").to_pylist()
    assert third["num_fold_in"] == (is_drawn & (user == 3)).sum()
    assert third["num_ratings"] == (~is_drawn & (user == 3)).sum()
    assert third["num_train"] == 0
    segments = evaluation.report.segments.users
    assert sum(segment.errors.count for segment in segments) == (~is_drawn).sum()
    assert segments[-1].high == np.bincount(user[is_drawn]).max()


@pytest.mark.parametrize("path", ["mf"], indirect=True)
def test_the_draw_depends_on_no_shards_and_models_that_rank_are_folded_in_too(tmp_path, path, dataset):
    other = users_dataset(tmp_path / "other", num_shards=1)

    settings = EvaluationSettings()
    one, two = (measure(ranking_predictor(path), each, settings).report for each in (dataset, other))

    assert two.dataset.is_trained_on is False
    assert one.ranking.cuts == two.ranking.cuts
    assert one.fold_in == two.fold_in
    assert one.rmse is None


@pytest.mark.parametrize("path", ["mf"], indirect=True)
def test_with_nothing_folded_in_all_users_are_cold(tmp_path, path):
    nothing = users_dataset(tmp_path / "nothing", share=0.0)

    report = load_model(path).evaluate(nothing)

    assert report.cold_users.count == report.count == nothing.manifest.num_ratings["test"]
    user, item, rating = held_out(nothing)
    error = load_model(path).predict_indices(user, item) - rating
    assert report.rmse == pytest.approx(np.sqrt(np.mean(error.astype(float) ** 2)), rel=1e-4)
    assert [segment.high for segment in report.segments.users] == [0]


@pytest.mark.parametrize("path", ["mf"], indirect=True)
def test_train_ratings_and_other_splits(tmp_path, path, dataset):
    report = load_model(path).evaluate(dataset, "train", allow_train=True)
    assert report.fold_in is None
    assert report.count == np.count_nonzero(~np.isnan(train_matrix(dataset)))
    other = users_dataset(tmp_path / "other", test_users=30)
    with pytest.raises(ConfigError, match="--allow-other-split"):
        load_model(path).evaluate(other)
    with pytest.raises(ConfigError, match=r"holds out whole users \(split\.kind: users\), which only a model"):
        load_model(path).evaluate(other, allow_other_split=True)


@pytest.mark.parametrize("model", [{"kind": "mf", "factors": 2}, {"kind": "autorec", "orientation": "users"}])
def test_training_neither_tunes_nor_stops_by_users_without_train_ratings(tmp_path, capsys, model):
    users = users_dataset(tmp_path / "dataset", test_users=10, valid_users=30)
    assert users.manifest.num_ratings["valid"] > LEAST_RATINGS
    assert not can_judge(users.manifest)
    tree = {"dataset": users.folder.url, "run_dir": str(tmp_path / "run"), "device": "cpu", "model": model}
    config = TrainConfig.model_validate({**tree, "training": {"epochs": 4, "patience": 1}})

    outcome = train(config, World.single())
    merge(str(tmp_path / "run"), str(tmp_path / "model"))
    report = load_model(str(tmp_path / "model")).evaluate(users, "valid")

    assert outcome in {Outcome.FINISHED, Outcome.CONVERGED}
    assert "holds out whole users, so training.patience has no effect" in capsys.readouterr().out
    assert report.model.step == 4
    assert report.fold_in.users == 30
    assert report.rmse < report.baselines["global_mean"].rmse
