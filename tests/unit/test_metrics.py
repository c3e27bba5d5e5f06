"""Sums of errors and metrics of lists against their definitions and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from recsys_dist.metrics import METRICS, CatalogueMetrics, ErrorSums, GroupedErrors, list_metrics


def test_rmse_of_parts_is_rmse_of_all_ratings_not_a_mean_of_means():
    parts = [ErrorSums.of(np.array([1.0]), np.array([5.0])), ErrorSums.of(np.full(3, 2.0), np.full(3, 2.0))]

    total = parts[0] + parts[1]

    assert (total.rmse, total.mae, total.count) == (2.0, 1.0, 4)
    assert math.isnan(ErrorSums().rmse)


def test_errors_of_groups_are_those_of_their_ratings_however_they_arrive():
    rng = np.random.default_rng(0)
    group, error = rng.integers(2, 7, 400), rng.normal(size=400)

    found = GroupedErrors(9)
    for part in np.array_split(np.arange(400), 7):
        found.add(group[part], error[part])
    found.add(np.empty(0, np.int64), np.empty(0))

    halves = found.over(np.array([0] * 4 + [1] * 5), 2)
    for number in range(9):
        mine = error[group == number]
        assert found.sums(number).count == len(mine)
        assert found.sums(number).squared == pytest.approx((mine**2).sum())
        assert found.sums(number).absolute == pytest.approx(np.abs(mine).sum())
    assert halves.sums(1).squared == pytest.approx((error[group >= 4] ** 2).sum())
    assert halves.sums(1).count == (group >= 4).sum()


def reference(hits: list[bool], num_relevant: int, top: int) -> dict[str, float]:
    """The definitions, one list at a time."""
    cut = hits[:top]
    possible = min(num_relevant, top)
    ranks = [place for place, hit in enumerate(cut, 1) if hit]
    ideal = sum(1 / math.log2(place + 1) for place in range(1, possible + 1))
    return {
        "recall": len(ranks) / num_relevant,
        "truncated_recall": len(ranks) / possible,
        "precision": len(ranks) / top,
        "hit_rate": float(bool(ranks)),
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "map": sum(sum(cut[:rank]) / rank for rank in ranks) / possible,
        "ndcg": sum(1 / math.log2(rank + 1) for rank in ranks) / ideal,
    }


@pytest.mark.parametrize(("num_places", "tops"), [(20, (1, 5, 20)), (4, (1, 3, 10, 1000)), (30, (30,))])
def test_metrics_of_lists_are_their_definitions(num_places, tops):
    rng = np.random.default_rng(num_places)
    hits = rng.random((150, num_places)) < rng.choice([0.02, 0.3, 0.9], (150, 1))
    num_relevant = np.maximum(hits.sum(1) + rng.integers(0, 8, 150), 1)

    found = list_metrics(hits, num_relevant, tops)

    assert found.shape == (150, len(tops), len(METRICS))
    for row, cut in np.ndindex(150, len(tops)):
        expected = reference(hits[row].tolist(), int(num_relevant[row]), tops[cut])
        assert dict(zip(METRICS, found[row, cut].tolist(), strict=True)) == pytest.approx(expected, abs=1e-12)
    assert (found >= 0).all()
    assert (found <= 1).all()


@pytest.mark.parametrize("num_items", [25, 10, 4])
def test_ndcg_and_average_precision_equal_scikit_learn(num_items):
    rng = np.random.default_rng(num_items)
    scores = rng.random((200, num_items))
    relevant = rng.random((200, num_items)) < 0.3
    relevant[:, 0] |= ~relevant.any(1)
    order = np.argsort(-scores, axis=1)
    hits = np.take_along_axis(relevant, order, axis=1)

    found = list_metrics(hits, relevant.sum(1), (10, num_items + 10))

    ndcg = found[:, 0, METRICS.index("ndcg")].mean()
    assert ndcg == pytest.approx(ndcg_score(relevant, scores, k=10), abs=1e-12)
    # Of whole lists: scikit-learn has no average precision at a cut.
    precision = found[:, 1, METRICS.index("map")]
    expected = [average_precision_score(*pair) for pair in zip(relevant, scores, strict=True)]
    assert precision == pytest.approx(np.array(expected), abs=1e-12)


def test_a_perfect_list_has_all_figures_one_however_many_items_are_relevant():
    for relevant in (1, 9, 10, 11, 500):
        hits = np.arange(10)[None] < relevant
        found = dict(zip(METRICS, list_metrics(hits, np.array([relevant]), (10,))[0, 0].tolist(), strict=True))
        for name in ("ndcg", "map", "mrr", "truncated_recall", "hit_rate"):
            assert found[name] == pytest.approx(1.0, abs=1e-15)
            assert found[name] <= 1.0
        assert found["recall"] == min(10, relevant) / relevant


def test_no_lists_have_no_metrics():
    assert list_metrics(np.empty((0, 10), bool), np.empty(0, np.int64), (5, 10)).shape == (0, 2, len(METRICS))
    assert all(
        math.isnan(value) for value in vars(CatalogueMetrics.of(np.zeros(4, int), np.ones(4, int), 3)).values()
    )


def test_figures_of_the_catalogue_are_their_definitions():
    rng = np.random.default_rng(0)
    num_train = rng.integers(0, 50, 40)
    lists = [rng.choice(40, 5, replace=False) for _ in range(30)]
    listed = np.bincount(np.concatenate(lists), minlength=40)

    found = CatalogueMetrics.of(listed, num_train, 60)

    assert found.coverage == len(set(np.concatenate(lists).tolist())) / 40
    rated = np.maximum(num_train[np.concatenate(lists)], 1)
    assert found.novelty == pytest.approx(np.mean([-math.log2(count / 60) for count in rated]))
    assert found.mean_popularity == pytest.approx(np.mean(num_train[np.concatenate(lists)]))
    # The Gini index as half the relative mean difference, without the pairs of an item with itself.
    differences = np.abs(listed[:, None] - listed[None]).sum() / (40 * 39)
    assert found.gini == pytest.approx(differences / (2 * listed.mean()))


@pytest.mark.parametrize(("listed", "gini"), [([3, 3, 3, 3], 0.0), ([0, 0, 9, 0], 1.0), ([7], 0.0)])
def test_the_gini_index_is_0_for_equal_shares_and_1_for_one_item(listed, gini):
    counts = np.array(listed)
    assert CatalogueMetrics.of(counts, counts, 10).gini == pytest.approx(gini)
