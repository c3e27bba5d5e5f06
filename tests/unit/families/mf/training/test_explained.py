"""A model whose factors explain nothing says so, once, at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.states import single_collectives

EPOCHS = 12


def notes(path: Path, user: np.ndarray, item: np.ndarray, rating: np.ndarray, factors: int = 4) -> list[str]:
    dataset = write_dataset(path, user, item, rating, np.zeros(len(user), np.int8))
    settings = MfSettings(factors=factors, noise="shared", constrained="none", tolerance=0)
    trainer = EmTrainer(dataset, settings, EPOCHS, seed=0, collectives=single_collectives())
    return [trainer.train_epoch(lambda: False).note or "" for _ in range(EPOCHS)]


def biased_noise(rng: np.random.Generator, bias_std: float):
    pairs = rng.choice(200 * 150, 6000, replace=False)
    user, item = pairs // 150, pairs % 150
    bias = rng.normal(0, bias_std, 200)[user] + rng.normal(0, bias_std, 150)[item]
    return user, item, 3 + bias + rng.normal(0, 1, len(user))


@pytest.mark.parametrize(("bias_std", "biases"), [(0.0, range(4)), (1.0, range(55, 75))])
def test_biases_alone_are_called_so_in_the_last_epoch(bias_std, biases, tmp_path):
    *before, last = notes(tmp_path, *biased_noise(np.random.default_rng(0), bias_std))
    assert last.startswith("the factors explain 0.")
    assert last.endswith("this is little more than a model of biases")
    assert int(last.split("biases ")[1].split(".")[0]) in biases
    assert not any("biases" in note for note in before)


def test_factors_that_explain_something_and_none_at_all_are_not_mentioned(tmp_path):
    user, item, rating = low_rank_ratings(200, 150, 6000)
    assert not any("biases" in note for note in notes(tmp_path / "low", user, item, rating))
    user, item, rating = biased_noise(np.random.default_rng(0), 1.0)
    assert not any("biases" in note for note in notes(tmp_path / "none", user, item, rating, factors=0))
