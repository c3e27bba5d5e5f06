"""Lists at several cuts against brute force, the popularity baseline, and models that only rank."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from recsys_dist import load_model
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import FEEDBACK_RULE, INTERACTIONS, MANIFEST
from recsys_dist.errors import ConfigError
from recsys_dist.evaluation.evaluate import measure
from recsys_dist.evaluation.popularity import PopularityLists
from recsys_dist.evaluation.settings import EvaluationSettings, as_tops, parse_tops
from recsys_dist.metrics import METRICS, CatalogueMetrics, list_metrics
from tests.support.merged import mf_run, train_matrix, write_merged
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.ranking_model import ranking_predictor

TOPS = (1, 5, 20, 100)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Items 50..59 have no train rating; user 6 has rated almost everything."""
    user, item, rating = low_rank_ratings(80, 60, 2500)
    more = np.setdiff1d(np.arange(55), item[user == 6])
    user, item, rating = (
        np.append(user, np.full(len(more), 6)),
        np.append(item, more),
        np.append(rating, more % 5 + 1),
    )
    draw = np.random.default_rng(1).random(len(user))
    split = np.where((item >= 50) | (draw < 0.2), 2, 0)
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", user, item, rating, split, 80, 60)


@pytest.fixture(scope="module")
def path(tmp_path_factory, dataset) -> str:
    path = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset), dataset, path)
    return str(path)


def held_out(dataset: Dataset) -> list[tuple[int, int, float]]:
    parts = [dataset.ratings("test", shard) for shard in range(len(dataset.shards("users")))]
    return [triple for one in parts for triple in zip(one.user_index, one.item_index, one.rating, strict=True)]


def brute_force(dataset: Dataset, scores: np.ndarray, relevant_from: float) -> tuple[dict[int, np.ndarray], list]:
    """Metrics at `TOPS` by user, and the lists, from scores of all users and items."""
    train, metrics, lists = train_matrix(dataset), {}, []
    wanted: dict[int, set[int]] = {}
    for user, item, rating in held_out(dataset):
        if rating >= relevant_from:
            wanted.setdefault(user, set()).add(item)
    for user, relevant in wanted.items():
        order = [item for item in np.argsort(-scores[user], kind="stable") if np.isnan(train[user, item])]
        hits = np.array([[item in relevant for item in order]])
        metrics[user] = list_metrics(hits, np.array([len(relevant)]), TOPS)[0]
        lists.append(order)
    return metrics, lists


def all_scores(path: str, dataset: Dataset) -> np.ndarray:
    model = load_model(path)
    users = np.repeat(np.arange(dataset.num_users), dataset.num_items)
    items = np.tile(np.arange(dataset.num_items), dataset.num_users)
    return model.predict_indices(users, items, clip=False).reshape(dataset.num_users, -1)


@pytest.mark.parametrize("ranked_by", ["model", "popularity"])
def test_every_figure_at_every_cut_equals_brute_force(path, dataset, ranked_by):
    report = load_model(path).evaluate(dataset, top=TOPS)

    ranking = report.ranking
    num_train = dataset.num_train("items")
    scores = all_scores(path, dataset)
    if ranked_by == "popularity":
        scores = np.tile(num_train.astype(float), (dataset.num_users, 1))
    metrics, lists = brute_force(dataset, scores, dataset.manifest.rating.mean)
    cuts = ranking.cuts if ranked_by == "model" else ranking.baselines["popularity"]
    assert ranking.users == len(metrics)
    assert [cut.top for cut in cuts] == list(TOPS)
    mean = np.mean(list(metrics.values()), axis=0)
    for number, cut in enumerate(cuts):
        listed = np.bincount(np.concatenate([one[: cut.top] for one in lists]), minlength=dataset.num_items)
        whole = CatalogueMetrics.of(listed, num_train, int((dataset.num_train("users") > 0).sum()))
        expected = {"top": cut.top, **dict(zip(METRICS, mean[number], strict=True)), **vars(whole)}
        assert cut.model_dump() == pytest.approx(expected, abs=1e-12)
        assert f"{cut.top:>3}  {cut.recall:.4f}  {cut.ndcg:.4f}" in repr(report)


def test_a_cut_beyond_the_catalogue_is_one_of_the_whole_list(path, dataset):
    ranking = load_model(path).evaluate(dataset, top=[60, 10**30]).ranking

    whole, beyond = ranking.cuts
    assert beyond.recall == whole.recall == 1.0
    assert beyond.ndcg == whole.ndcg
    assert beyond.precision == pytest.approx(0, abs=1e-25)


def test_popular_items_are_unseen_and_in_order_however_much_was_seen():
    rng = np.random.default_rng(0)
    num_train = rng.integers(0, 6, 200)
    is_seen = rng.random((50, 200)) < np.linspace(0, 1, 50)[:, None]
    popular_first = np.argsort(-num_train, kind="stable")

    row, seen = np.nonzero(is_seen)
    item, is_filled = PopularityLists(num_train).best(50, 7, (row.astype(np.int64), seen.astype(np.int64)))

    for user in range(50):
        expected = [one for one in popular_first if not is_seen[user, one]][:7]
        assert item[user][is_filled[user]].tolist() == expected
    assert not is_filled[49].any()


def test_a_model_that_ranks_has_the_same_lists_and_no_errors(path, dataset):
    ranks = measure(ranking_predictor(path), dataset, EvaluationSettings(top=(5, 10))).report
    predicts = load_model(path).evaluate(dataset, top=(5, 10))

    assert ranks.ranking.cuts == predicts.ranking.cuts
    assert (ranks.predicts_ratings, predicts.predicts_ratings) == (False, True)
    assert ranks.count == predicts.count
    assert (ranks.rmse, ranks.mae, ranks.baselines, ranks.uncertainty) == (None, None, {}, None)
    assert ranks.cold_items.model_dump() == {"rmse": None, "mae": None, "count": predicts.cold_items.count}
    for mine, other in zip(ranks.segments.users, predicts.segments.users, strict=True):
        assert mine.errors.rmse is None
        assert mine.errors.count == other.errors.count
        assert mine.cuts == other.cuts
    assert ranks.segments.ratings == ()
    assert json.loads(ranks.model_dump_json())["rmse"] is None


def test_every_held_out_interaction_is_relevant(tmp_path, dataset):
    """The same data as interactions: the values count nothing."""
    user, item, _ = (np.array(column) for column in zip(*held_out(dataset), strict=True))
    train_user, train_item = np.nonzero(~np.isnan(train_matrix(dataset)))
    ones = write_dataset(
        tmp_path / "ones",
        np.append(user, train_user),
        np.append(item, train_item),
        np.ones(len(user) + len(train_user)),
        np.repeat([2, 0], [len(user), len(train_user)]),
        80,
        60,
    )
    rules = {FEEDBACK_RULE: INTERACTIONS}
    ones.folder.write_bytes(MANIFEST, ones.manifest.model_copy(update={"rules": rules}).to_bytes())
    ones = Dataset.open(ones.folder.url)
    assert not ones.manifest.has_ratings
    write_merged(mf_run(ones), ones, tmp_path / "model")

    report = measure(ranking_predictor(str(tmp_path / "model")), ones, EvaluationSettings()).report

    assert report.ranking.relevant_from is None
    assert report.ranking.eligible_users == len(set(user.tolist()))
    assert sum(segment.relevant for segment in report.segments.items) == len(user)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0", "top 0 is not the length of a list; give whole numbers, 1 or more"),
        ("5,-1", "top -1 is not the length of a list"),
        ("5,10,5", "top 5 is given twice; give each cut-off once"),
        ("ten", "top 'ten' is not a list of whole numbers; give for example 10, or 5,10,20"),
        ("5,,10", "is not a list of whole numbers"),
        ("", "is not a list of whole numbers"),
        ("1.5", "is not a list of whole numbers"),
    ],
)
def test_what_is_no_cut_off_is_refused_in_one_line(text, reason):
    with pytest.raises(ConfigError, match=reason):
        parse_tops(text)


def test_cut_offs_are_sorted_and_checked_in_python_too():
    assert parse_tops("20, 5,10") == as_tops([20, 5, 10]) == (5, 10, 20)
    assert as_tops(7) == (7,)
    assert as_tops(np.int64(7)) == (7,)  # type: ignore[arg-type]
    wrongs: list[Any] = [[], [True], [1.0], 2.5, "10"]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match="top "):
            as_tops(wrong)
