"""The number of factors grows and shrinks in training: as the data supports it, the same on any ranks."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.factor_curve import FactorCurve
from recsys_dist.families.mf.training.factorization import Factorization
from recsys_dist.families.mf.training.full_factorization import FullFactorization
from recsys_dist.families.mf.training.requirements import least_limit
from recsys_dist.families.mf.training.resizing import resize
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.prepared import write_dataset
from tests.support.ranks import run_ranks
from tests.support.states import saved

CORE_USERS, CORE_ITEMS, PASSERS_BY = 120, 60, 6000


def dataset_of_rank(path: Path, rank: int, passers_by: int = 0) -> None:
    """Ratings of `rank` factors by a core of users; further users rate once, so that rows are short on average."""
    rng = np.random.default_rng(rank)
    users_UK, items_IK = rng.normal(size=(CORE_USERS, rank)), rng.normal(size=(CORE_ITEMS, rank))
    user, item = np.nonzero(rng.random((CORE_USERS, CORE_ITEMS)) < 0.8)
    biases_N = 0.3 * rng.normal(size=CORE_USERS)[user] + 0.3 * rng.normal(size=CORE_ITEMS)[item]
    rating = biases_N + (users_UK[user] * items_IK[item]).sum(1) + 0.2 * rng.normal(size=len(user))
    split = (rng.random(len(user)) < 0.15).astype(int)
    user = np.concatenate([user, CORE_USERS + np.arange(passers_by)])
    item = np.concatenate([item, rng.integers(0, CORE_ITEMS, passers_by)])
    rating = np.concatenate([rating, rng.normal(size=passers_by)])
    split = np.concatenate([split, np.zeros(passers_by, dtype=int)])
    write_dataset(path, user, item, rating, split)


def new_trainer(
    collectives: Collectives, path: Path, memory_limit: int | None = None, **settings: Any
) -> EmTrainer:
    chosen = MfSettings(**{"constrained": "none", "noise": "shared", **settings})
    return EmTrainer(Dataset.open(str(path)), chosen, 100, 3, collectives, memory_limit)


def searched(trainer: EmTrainer) -> tuple[list[int], str]:
    """Train until the search is over; returns the numbers of factors on the way, and what is said."""
    numbers, notes = [num_factors(trainer)], []
    while trainer.is_searching:
        notes.append(trainer.train_epoch(lambda: False).note or "")
        if num_factors(trainer) != numbers[-1]:
            numbers.append(num_factors(trainer))
    return numbers, "\n".join(notes)


def num_factors(trainer: EmTrainer) -> int:
    factors: int = trainer._model.users.layout.num_factors
    return factors


def test_factors_are_added_while_withheld_ratings_gain(tmp_path: Path) -> None:
    dataset_of_rank(tmp_path / "data", 10, PASSERS_BY)
    trainer = new_trainer(Collectives(World.single()), tmp_path / "data")

    numbers, said = searched(trainer)

    assert numbers == [4, 8, 16]
    assert "trying 8 factors" in said
    assert "8 factors kept: squared error" in said
    assert trainer.validate().rmse < 0.35


def test_no_more_factors_are_tried_than_a_memory_limit_holds(tmp_path: Path) -> None:
    """A run that had outgrown its limit could not be resumed within it."""
    dataset_of_rank(tmp_path / "data", 10, PASSERS_BY)
    limit = least_limit(CORE_ITEMS, 8, FullFactorization)

    numbers, _ = searched(new_trainer(Collectives(World.single()), tmp_path / "data", limit))

    assert numbers == [4, 8]


@pytest.mark.parametrize(("rank", "most"), [(0, 0), (1, 2), (2, 4)])
def test_directions_that_gain_nothing_are_removed_without_a_loss(tmp_path: Path, rank: int, most: int) -> None:
    dataset_of_rank(tmp_path / "data", rank)
    alone = Collectives(World.single())
    trainer, wide = (new_trainer(alone, tmp_path / "data", factors=number) for number in ("auto", 32))

    numbers, said = searched(trainer)
    for one in (trainer, wide):
        while not one.has_converged:
            one.train_epoch(lambda: False)

    assert numbers == [32, most]
    assert (f"keeping {most} of 32 factors: the others lower" if most else "keeping biases alone") in said
    assert trainer.validate().rmse == pytest.approx(wide.validate().rmse, rel=5e-3)
    saved_rows = trainer.state().tables["users"].tensors
    assert saved_rows["mean"].shape == (CORE_USERS, most + 1)
    assert saved_rows["covariance"].shape == (CORE_USERS, (most + 1) * (most + 2) // 2)


def test_a_number_given_by_hand_stays(tmp_path: Path) -> None:
    dataset_of_rank(tmp_path / "data", 1)
    trainer = new_trainer(Collectives(World.single()), tmp_path / "data", factors=8, noise="auto")

    assert searched(trainer)[0] == [8]


def test_the_curve_ends_at_the_error_of_the_model(tmp_path: Path) -> None:
    dataset_of_rank(tmp_path / "data", 3)
    alone = Collectives(World.single())
    trainer = new_trainer(alone, tmp_path / "data", factors=5)
    for _ in range(12):
        trainer.train_epoch(lambda: False)
    limits = trainer._matrix.manifest.rating

    curve = FactorCurve.of(trainer._model, trainer._shards.valid_pairs, limits, alone)

    assert float(curve.error_k[-1]) == pytest.approx(trainer.validate().squared, rel=1e-5)
    assert float(curve.error_k[3]) == pytest.approx(float(curve.error_k[5]), rel=0.01)
    assert curve.error_k[2] > 2 * curve.error_k[3]
    assert curve.supported == 5


@pytest.mark.parametrize(
    ("errors", "supported", "supports_more"),
    [
        ([4.0, 3.0, 2.0, 1.0], 3, True),
        ([4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 2, False),
        ([4.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 4, False),
        ([1.0, 1.0, 1.1], 0, False),
        ([1.0], 0, False),
        ([1.0, 0.9], 0, True),
    ],
)
def test_what_a_curve_says(errors: list[float], supported: int, supports_more: bool) -> None:
    """The standard error is .1 of anything."""
    error_k = torch.tensor(errors, dtype=torch.float64)
    curve = FactorCurve(error_k, torch.full_like(error_k, 0.1))

    assert (curve.supported, curve.supports_more) == (supported, supports_more)


def shifts(model: Factorization[Any]) -> list[torch.Tensor]:
    """What constraints add to the score of each user with each item, by the prior of the user and of the item."""
    users, items = model.users, model.items
    of_users_Un = users.root_R1 * model._to_users([items.constraint_Rn])[0]
    of_items_In = items.root_R1 * model._to_items([users.constraint_Rn])[0]
    ones_U1, ones_I1 = (torch.ones((side.num_rows, 1)) for side in (users, items))
    return [
        of_users_Un @ torch.cat([items.mean_nR[:-1].T, ones_I1], 1).T,
        torch.cat([users.mean_nR[:-1].T, ones_U1], 1) @ of_items_In.T,
    ]


def test_constraints_shift_priors_by_as_much_along_fewer_factors(tmp_path: Path) -> None:
    dataset_of_rank(tmp_path / "data", 2)
    trainer = new_trainer(Collectives(World.single()), tmp_path / "data", factors=8, constrained="both")
    for _ in range(15):
        trainer.train_epoch(lambda: False)
    model, fewer = trainer._model, trainer._factorization(4)
    resize(model, fewer, 3)
    fewer.count(trainer._shards.__iter__)
    fewer.take_form(model.form)

    for after, before in zip(shifts(fewer), shifts(model), strict=True):
        assert float((after - before).norm() / before.norm()) < 1e-3


def digests(trainer: EmTrainer) -> list[str]:
    state, collectives = trainer.state(), trainer._collectives
    values = [json.dumps(state.values, sort_keys=True)]
    for _, table in sorted(state.tables.items()):
        for _, tensor in sorted(table.tensors.items()):
            edges = itertools.accumulate(collectives.gather_json(len(tensor)), initial=0)
            everyone = collectives.gather_rows(tensor, list(itertools.pairwise(edges)))
            values.append(hashlib.sha256(everyone.numpy().tobytes()).hexdigest())
    return values


def searched_on_ranks(collectives: Collectives, path: Path, settings: dict[str, Any]) -> tuple[Any, ...]:
    trainer = new_trainer(collectives, path, **settings)
    numbers, _ = searched(trainer)
    return tuple(numbers), tuple(digests(trainer))


@pytest.mark.parametrize("settings", [{"constrained": "both", "noise": "both"}, {"posterior": "diagonal"}])
def test_ranks_agree_to_the_bit_about_factors_and_rows(tmp_path: Path, settings: dict[str, Any]) -> None:
    dataset_of_rank(tmp_path / "data", 6, PASSERS_BY)

    outcomes = {
        run_ranks(searched_on_ranks, size, tmp_path / "ranks", tmp_path / "data", settings)[0]
        for size in (1, 2, 3)
    }

    assert len(outcomes) == 1
    numbers, _ = outcomes.pop()
    assert len(numbers) > 1


def test_a_run_interrupted_while_more_factors_are_tried_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    dataset_of_rank(tmp_path / "data", 6, PASSERS_BY)
    alone = Collectives(World.single())
    unbroken = new_trainer(alone, tmp_path / "data")
    while num_factors(unbroken) == 4:
        unbroken.train_epoch(lambda: False)
    resumed = new_trainer(alone, tmp_path / "data")
    resumed.load_state(saved(unbroken.state()))
    assert num_factors(resumed) == 8

    for trainer in (unbroken, resumed):
        searched(trainer)

    assert digests(unbroken) == digests(resumed)


def test_a_run_of_too_few_epochs_for_a_search_keeps_its_factors(tmp_path: Path) -> None:
    dataset_of_rank(tmp_path / "data", 2)
    settings = MfSettings(constrained="none", noise="shared")
    trainer = EmTrainer(Dataset.open(str(tmp_path / "data")), settings, 4, 3, Collectives(World.single()))

    for _ in range(4):
        trainer.train_epoch(lambda: False)

    assert num_factors(trainer) == 32
