"""Sums of errors against their definitions, ranking figures against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from recsys_dist.metrics import ErrorSums, RankingSums


def test_rmse_of_parts_is_rmse_of_all_ratings_not_a_mean_of_means():
    parts = [ErrorSums.of(np.array([1.0]), np.array([5.0])), ErrorSums.of(np.full(3, 2.0), np.full(3, 2.0))]

    total = parts[0] + parts[1]

    assert (total.rmse, total.mae, total.count) == (2.0, 1.0, 4)
    assert math.isnan(ErrorSums().rmse)


@pytest.mark.parametrize("num_items", [25, 10, 4])
def test_ndcg_equals_scikit_learn(num_items):
    rng = np.random.default_rng(num_items)
    scores = rng.random((200, num_items))
    relevant = rng.random((200, num_items)) < 0.3
    relevant[:, 0] |= ~relevant.any(1)
    top = np.argsort(-scores, axis=1)[:, :10]
    hits = np.take_along_axis(relevant, top, axis=1)

    sums = RankingSums.of(hits, relevant.sum(1))

    assert sums.users == 200
    assert sums.mean_ndcg == pytest.approx(ndcg_score(relevant, scores, k=10), abs=1e-12)
    assert sums.mean_recall == pytest.approx(
        np.mean([h.sum() / r.sum() for h, r in zip(hits, relevant, strict=True)])
    )


def test_a_perfect_list_has_ndcg_one_however_many_items_are_relevant():
    for relevant in (1, 9, 10, 11, 500):
        hits = np.arange(10)[None] < relevant
        sums = RankingSums.of(hits, np.array([relevant]))
        assert sums.mean_ndcg == pytest.approx(1.0, abs=1e-15)
        assert sums.mean_ndcg <= 1.0
