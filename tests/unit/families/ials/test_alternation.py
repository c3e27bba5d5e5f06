from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys_dist.errors import TrainingError
from recsys_dist.families.ials.objective import Penalty
from recsys_dist.families.ials.training import row_batches, row_solver
from recsys_dist.families.ials.training.alternation import Alternation
from recsys_dist.families.targets import Target
from tests.support.merged import train_matrix
from tests.support.prepared import small_dataset, write_dataset
from tests.support.states import single_collectives
from tests.unit.families.ials.reference import dense_weights, solved_rows, whole_objective

PENALTY = Penalty(unobserved_weight=0.2, regularization=0.02, frequency_scaling=0.8)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("dataset") / "small")


def alternation(dataset, target="graded", factors=5, **settings):
    weighted = Target.of(target, dataset.manifest)
    model = Alternation(dataset, weighted, factors, single_collectives(), **settings)
    model.read()
    model.start(seed=0)
    return model, dense_weights(train_matrix(dataset), weighted)


def vectors(model) -> tuple[np.ndarray, np.ndarray]:
    users, items = (model.vectors[side].double().numpy().copy() for side in ("users", "items"))
    return users, items


@pytest.mark.parametrize("target", ["graded", "liked", "all"])
def test_enough_steps_solve_the_normal_equations_of_every_row(dataset, monkeypatch, target):
    monkeypatch.setattr(row_solver, "STEPS", 12)
    model, weights = alternation(dataset, target)
    assert model.num_interactions == np.count_nonzero(weights)
    users, _ = vectors(model)
    found = model.epoch(PENALTY)
    items = solved_rows(weights.T, users, PENALTY)
    users = solved_rows(weights, items, PENALTY)
    for mine, reference in zip(vectors(model), (users, items), strict=True):
        np.testing.assert_allclose(mine, reference, rtol=1e-3, atol=1e-4 * np.abs(reference).max())
    assert found == pytest.approx(whole_objective(weights, *vectors(model), PENALTY), rel=1e-5)


def test_a_few_steps_per_epoch_reach_the_objective_of_exact_solves(dataset, monkeypatch):
    model, weights = alternation(dataset)
    objectives = [model.epoch(PENALTY) for _ in range(30)]
    assert (np.diff(objectives) <= 1e-6 * objectives[0]).all()
    assert objectives[-1] == pytest.approx(whole_objective(weights, *vectors(model), PENALTY), rel=1e-5)
    monkeypatch.setattr(row_solver, "STEPS", 12)
    exact, _ = alternation(dataset)
    assert objectives[-1] == pytest.approx([exact.epoch(PENALTY) for _ in range(30)][-1], rel=1e-3)


def test_a_row_of_one_interaction_is_solved_by_two_steps(tmp_path):
    user, item = np.arange(8), np.array([0, 1, 2, 3, 0, 1, 2, 3])
    rating = np.array([1, 2, 3, 4, 5, 4, 3, 2], np.float32)
    dataset = write_dataset(tmp_path / "d", user, item, rating, np.zeros(8, int))
    model, weights = alternation(dataset, factors=6)
    model.solve("users", PENALTY)
    users, items = vectors(model)
    np.testing.assert_allclose(users, solved_rows(weights, items, PENALTY), rtol=1e-3, atol=1e-5)


def test_batches_and_pieces_of_long_rows_change_only_rounding(dataset, monkeypatch):
    whole, _ = alternation(dataset)
    monkeypatch.setattr(row_solver, "GATHER_FLOATS", 40)
    monkeypatch.setitem(row_batches.BATCH_FLOATS, "cpu", 100)
    cut, _ = alternation(dataset)
    assert cut.epoch(PENALTY) == pytest.approx(whole.epoch(PENALTY), rel=1e-5)
    for mine, other in zip(vectors(cut), vectors(whole), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4 * np.abs(other).max())


def test_ratings_read_again_on_every_pass_give_the_same_bits(dataset):
    kept, _ = alternation(dataset)
    read, _ = alternation(dataset, memory_limit=1000)
    assert kept.epoch(PENALTY) == read.epoch(PENALTY)
    assert torch.equal(kept.vectors["users"], read.vectors["users"])


def test_the_bits_do_not_depend_on_the_number_of_threads(dataset):
    found = []
    threads = torch.get_num_threads()
    try:
        for num_threads in (1, 3):
            torch.set_num_threads(num_threads)
            model, _ = alternation(dataset)
            found.append((model.epoch(PENALTY), model.vectors["users"].numpy().tobytes()))
            assert torch.get_num_threads() == num_threads
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1]


def test_rows_without_interactions_are_zero(tmp_path):
    user, item = np.array([0, 0, 1, 1, 2, 3]), np.array([0, 1, 0, 2, 1, 3])
    rating = np.array([5, 4, 5, 5, 4, 1], np.float32)
    dataset = write_dataset(tmp_path / "d", user, item, rating, np.zeros(6, int), num_users=6, num_items=5)
    model, _ = alternation(dataset, "liked", factors=2)
    model.epoch(PENALTY)
    users, items = vectors(model)
    assert not users[[3, 4, 5]].any()
    assert not items[[3, 4]].any()
    assert users[:3].any(axis=1).all()


def test_no_interactions_are_refused(tmp_path):
    user, item = np.array([0, 1]), np.array([0, 1])
    dataset = write_dataset(tmp_path / "d", user, item, np.array([3.0, 3.0]), np.zeros(2, int))
    target = Target(kind="liked", has_ratings=True, low=1, high=5, mean=4)
    model = Alternation(dataset, target, 2, single_collectives())
    with pytest.raises(TrainingError, match=r"has no interactions to train on; use model\.target: all"):
        model.read()
