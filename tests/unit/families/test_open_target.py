"""`target: null`: where ratings say nothing, every interaction counts the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.families.ease.training.trainer import EaseTrainer
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training.trainer import IalsTrainer
from recsys_dist.protocols.family import TrainingSetup
from tests.support.prepared import write_dataset
from tests.support.states import saved, single_collectives

GROUPS = 4


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Users choose items of their group, and rate them by the toss of a coin."""
    rng = np.random.default_rng(0)
    user_group, item_group = rng.integers(0, GROUPS, 300), rng.integers(0, GROUPS, 80)
    chance = np.where(user_group[:, None] == item_group[None], 0.6, 0.08)
    user, item = np.nonzero(rng.random(chance.shape) < chance)
    rating = np.where(rng.random(len(user)) < 0.5, 5.0, 1.0).astype(np.float32)
    split = np.where(rng.random(len(user)) < 0.85, 0, 1)
    return write_dataset(tmp_path_factory.mktemp("data") / "data", user, item, rating, split, 300, 80, 3)


def ials(dataset: Dataset, **settings: Any) -> IalsTrainer:
    return IalsTrainer(setup(dataset, IalsSettings(factors=8, **settings)))


def ease(dataset: Dataset, **settings: Any) -> EaseTrainer:
    return EaseTrainer(setup(dataset, EaseSettings(**settings)))


def setup(dataset: Dataset, settings: Any) -> TrainingSetup[Any]:
    return TrainingSetup(dataset, settings, 3, 0, None, single_collectives())


def found(values: Any) -> dict[str, Any]:
    """What the search has found, as settings."""
    names = ("regularization", "user_normalization", "popularity_discount", "target")
    return {name: values[name] for name in names}


def tables(trainer: Any) -> dict[str, torch.Tensor]:
    return {
        f"{table}.{name}": tensor
        for table, rows in trainer.state().tables.items()
        for name, tensor in rows.tensors.items()
    }


def train(trainer: Any, epochs: int = 1) -> str:
    notes = [trainer.train_epoch(lambda: False).note or "" for _ in range(epochs)]
    return notes[0]


@pytest.mark.parametrize("make", [ials, ease])
def test_interactions_of_equal_value_are_chosen(dataset: Dataset, make: Callable[..., Any]):
    assert re.search(r"target:? all, regularization", train(make(dataset, target=None)))


def test_ials_trains_with_the_chosen_target(dataset: Dataset):
    trainer, resumed = ials(dataset, target=None), ials(dataset, target=None)
    train(trainer)
    penalty = trainer._penalty
    given = ials(
        dataset,
        target="all",
        regularization=penalty.regularization,
        unobserved_weight=penalty.unobserved_weight,
    )
    train(given)
    resumed.load_state(saved(trainer.state()))
    for one in (trainer, given, resumed):
        train(one)
    for name, tensor in tables(trainer).items():
        assert torch.equal(tensor, tables(given)[name]), name
        assert torch.equal(tensor, tables(resumed)[name]), name


def test_ease_solves_with_the_chosen_target(dataset: Dataset):
    trainer = ease(dataset, target=None)
    train(trainer)
    given = ease(dataset, **found(trainer.state().values))
    train(given)
    for name, tensor in tables(trainer).items():
        assert torch.equal(tensor, tables(given)[name]), name
