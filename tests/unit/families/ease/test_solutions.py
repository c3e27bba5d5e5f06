"""Both solutions against the reference: with blocks, padding, dense and sparse parts, and neighbourhoods."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_dist.errors import TrainingError
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.families.ease.training import gram, layout, neighborhoods
from recsys_dist.families.ease.training.exact import ExactSolver
from recsys_dist.families.ease.training.interactions import Interactions
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.ease.training.penalty import Penalty
from recsys_dist.families.ease.training.sparse import SparseSolver
from recsys_dist.families.ease.training.weights import Weights
from tests.support.ease_reference import ease, random_values
from tests.support.states import single_collectives

LAMBDA, MEAN_LENGTH = 3.0, 20.0
PLAIN = Penalty(LAMBDA, dropout=0.0)


def dense(weights: Weights) -> np.ndarray:
    """B: [I, I]"""
    if weights.source_Rk is None:
        return weights.weight_Rk.numpy().T
    table = np.zeros((len(weights.weight_Rk), weights.num_items))
    np.add.at(table, (np.arange(len(table))[:, None], weights.source_Rk.numpy()), weights.weight_Rk.numpy())
    return table.T


def exact(
    value_UI: np.ndarray, keep: int | None = None, penalty: Penalty = PLAIN, normalization: float = 0.0
) -> Weights:
    interactions = Interactions.of(sparse.csr_matrix(value_UI), MEAN_LENGTH, normalization)
    ones_I = torch.ones(value_UI.shape[1])
    solver = ExactSolver(interactions, penalty, keep, ones_I, single_collectives())
    for _ in solver.steps():
        pass
    return solver.weights


def on_neighbors(
    value_UI: np.ndarray, num_neighbors: int, keep: int | None = None, penalty: Penalty = PLAIN
) -> Weights:
    world, ones_I = single_collectives().world, torch.ones(value_UI.shape[1])
    solver = SparseSolver(sparse.csr_matrix(value_UI), penalty, num_neighbors, keep, ones_I, world)
    for _ in solver.steps():
        pass
    return solver.weights


@pytest.mark.parametrize("num_items", [2, 31, 32, 33, 150])
@pytest.mark.parametrize("dense_share", [0.0, 0.2, 2.0])
def test_exact_is_the_reference(monkeypatch, num_items, dense_share):
    monkeypatch.setattr(layout, "MOST_WIDTH", 32)
    monkeypatch.setattr(gram, "DENSE_SHARE", dense_share)
    value_UI = random_values(200, num_items, 0.2)
    np.testing.assert_allclose(dense(exact(value_UI)), ease(value_UI, LAMBDA), atol=2e-6)


def test_users_beyond_exact_sums_are_added_in_parts(monkeypatch):
    monkeypatch.setattr(gram, "EXACT_USERS", 7)
    monkeypatch.setattr(gram, "DENSE_SHARE", 0.0)
    value_UI = random_values(50, 20, 0.4)
    np.testing.assert_allclose(dense(exact(value_UI)), ease(value_UI, LAMBDA), atol=2e-6)


@pytest.mark.parametrize("dense_share", [0.0, 2.0])
def test_dropout_and_the_weights_of_users(monkeypatch, dense_share):
    monkeypatch.setattr(gram, "DENSE_SHARE", dense_share)
    value_UI = random_values(300, 40, 0.4)
    value_UI[:100, 10:] = 0
    weight_U = Interactions.of(sparse.csr_matrix(value_UI), MEAN_LENGTH, 0.5).weight_u
    length_U = np.maximum((value_UI > 0).sum(1), 1)
    np.testing.assert_allclose(weight_U, MEAN_LENGTH / length_U, rtol=1 / 8)
    assert len(set(weight_U)) > 4
    found = dense(exact(value_UI, penalty=Penalty(LAMBDA, 0.3), normalization=0.5))
    np.testing.assert_allclose(found, ease(value_UI, LAMBDA, 0.3, weight_U), atol=2e-6)


def test_neighbours_with_dropout():
    value_UI = random_values(300, 60, 0.4)
    found = dense(on_neighbors(value_UI, 59, penalty=Penalty(LAMBDA, 0.3)))
    np.testing.assert_allclose(found, ease(value_UI, LAMBDA, 0.3), atol=2e-6)


def test_weights_are_scaled_by_item():
    weights = Weights(1, 3, 3, 2, torch.tensor([1.0, 2.0, 10.0]))
    weights.put(1, torch.tensor([[3.0, 0.0, 1.0], [1.0, 2.0, 0.0]]))
    assert weights.weight_Rk.tolist() == [[6, 2], [10, 20]]
    assert weights.source_Rk.tolist() == [[0, 2], [0, 1]]


def test_an_item_of_everyone_and_one_of_nobody():
    value_UI = random_values(60, 12, 0.4)
    value_UI[:, 0], value_UI[:, 5] = 1, 0
    weight_II = dense(exact(value_UI))
    np.testing.assert_allclose(weight_II, ease(value_UI, LAMBDA), atol=2e-6)
    assert not weight_II[5].any()
    assert not weight_II[:, 5].any()


def test_the_largest_weights_are_kept():
    value_UI = random_values(100, 40, 0.3)
    whole, kept = exact(value_UI), exact(value_UI, keep=7)
    weight_II = dense(whole)
    at_least_I = np.sort(np.abs(weight_II), axis=0)[-7]
    np.testing.assert_array_equal(dense(kept), np.where(np.abs(weight_II) >= at_least_I, weight_II, 0))
    assert (kept.source_Rk.diff(dim=1) > 0).all()
    assert kept.total == pytest.approx(np.square(weight_II).sum(), rel=1e-5)
    assert kept.kept == pytest.approx(np.square(dense(kept)).sum(), rel=1e-5)


def test_a_singular_matrix_is_refused():
    value_UI = np.repeat(random_values(50, 2, 0.4), 10, axis=1)
    with pytest.raises(TrainingError, match=r"model\.regularization is too small"):
        exact(value_UI, penalty=Penalty(1e-12, 0))


def test_all_others_as_neighbours_are_exact():
    value_UI = random_values(300, 60, 0.4)
    np.testing.assert_allclose(dense(on_neighbors(value_UI, 1000)), ease(value_UI, LAMBDA), atol=2e-6)


@pytest.mark.parametrize(
    ("bound", "most"),
    [("SYSTEM_FLOATS", 1), ("SYSTEM_FLOATS", 1 << 12), ("NEIGHBOR_ENTRIES", 1), ("NEIGHBOR_ENTRIES", 300)],
)
def test_each_item_is_an_ease_of_its_neighbours(monkeypatch, bound, most):
    """Whether their systems are made one by one, some at once or all."""
    monkeypatch.setattr(neighborhoods, bound, most)
    value_UI = random_values(100, 60, 0.1)
    weights = on_neighbors(value_UI, 9)
    assert weights.source_Rk is not None
    gram_II = value_UI.T @ value_UI
    scale_I = 1 / np.sqrt(np.diag(gram_II) + LAMBDA)
    for item in range(60):
        closeness_I = gram_II[item] * scale_I
        closeness_I[item] = 0
        source_K = np.sort(np.argsort(-closeness_I, kind="stable")[:9])
        source_K = source_K[closeness_I[source_K] > 0]
        np.testing.assert_array_equal(weights.source_Rk[item, : len(source_K)], source_K)
        here = [*source_K, item]
        np.testing.assert_allclose(
            weights.weight_Rk[item, : len(source_K)], ease(value_UI[:, here], LAMBDA)[:-1, -1], atol=2e-6
        )
        assert not weights.weight_Rk[item, len(source_K) :].any()


def test_an_item_without_neighbours_has_no_weights():
    value_UI = random_values(50, 20, 0.2)
    value_UI[:, 4] = 0
    value_UI = np.vstack([value_UI, np.zeros(20, np.float32)])
    value_UI[-1, 4] = 1
    assert not on_neighbors(value_UI, 5).weight_Rk[4].any()


def test_neighbours_keep_their_largest_weights():
    value_UI = random_values(100, 30, 0.3)
    whole, kept = dense(on_neighbors(value_UI, 10)), dense(on_neighbors(value_UI, 10, keep=3))
    at_least_I = np.sort(np.abs(whole), axis=0)[-3]
    np.testing.assert_array_equal(kept, np.where(np.abs(whole) >= at_least_I, whole, 0))


@pytest.mark.parametrize("num_items", [1, 511, 512, 513, 3706, 45_000])
@pytest.mark.parametrize("num_ranks", [1, 2, 3, 8])
def test_ranks_share_blocks_and_items(num_items, num_ranks):
    blocks = BlockLayout(num_items, num_ranks)
    assert 0 <= blocks.num_rows - num_items < 16 * blocks.count
    columns = [blocks.columns_of(rank) for rank in range(num_ranks)]
    assert sorted(chain(*columns)) == list(range(blocks.count))
    stored = [sum(map(blocks.stored_rows, own)) for own in columns]
    assert max(stored) - min(stored) <= blocks.num_rows
    edges = [blocks.items_of(rank) for rank in range(num_ranks)]
    assert [start for start, _ in edges] == [0, *(stop for _, stop in edges[:-1])]
    assert edges[-1][1] == num_items


def test_a_panel_is_a_whole_column(monkeypatch):
    monkeypatch.setattr(layout, "MOST_WIDTH", 32)
    for num_ranks in (1, 2, 3):
        blocks = BlockLayout(100, num_ranks)
        for column in range(blocks.count):
            parts = blocks.panel_parts(column)
            assert sorted(chain(*parts)) == list(range(blocks.count))


def test_small_catalogues_keep_all_weights_and_large_ones_the_largest():
    assert [EaseSettings().keep_of(count) for count in (10, 16_384, 16_385, 45_000)] == [10, 16_384, 4096, 4096]
    assert [EaseSettings(keep=500).keep_of(count) for count in (10, 45_000)] == [10, 500]
