from __future__ import annotations

import numpy as np
import pytest

from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training import search as search_module
from recsys_dist.families.ials.training.trainer import IalsTrainer
from recsys_dist.protocols.family import TrainingSetup
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.states import saved, single_collectives


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Enough ratings to search by."""
    user, item, rating = low_rank_ratings(250, 80, 14_000)
    return write_dataset(tmp_path_factory.mktemp("data") / "d", user, item, rating, np.zeros(len(user), int))


@pytest.fixture(autouse=True)
def few_trials(monkeypatch):
    monkeypatch.setattr(search_module, "MOST_TRIALS", 4)


def trainer(dataset, **settings):
    chosen = IalsSettings(**{"factors": 4, **settings})
    return IalsTrainer(TrainingSetup(dataset, chosen, 10, 0, None, single_collectives()))


def vectors_of(model):
    return {name: table.tensors["vector"].numpy().tobytes() for name, table in model.state().tables.items()}


def never() -> bool:
    return False


def test_the_search_is_done_before_the_first_epoch_and_says_what_it_chose(dataset):
    model = trainer(dataset)
    assert model.is_searching
    result = model.train_epoch(never)
    assert not model.is_searching
    assert (result.train, result.num_ratings) == (None, dataset.manifest.num_ratings["train"])
    assert result.note.startswith("using regularization: ")
    assert model.train_epoch(never).note is None
    assert model.validate() is None


def test_a_stop_within_the_search_loses_no_trial(dataset):
    whole, broken = trainer(dataset), trainer(dataset)
    whole.train_epoch(never)
    stops = 0
    while not broken.train_epoch(lambda: True).finished:
        stops += 1
        state = saved(broken.state())
        broken = trainer(dataset)
        broken.load_state(state)
    assert stops == 4
    assert broken.state().values == whole.state().values
    assert vectors_of(broken) == vectors_of(whole)


def test_given_settings_need_no_search(dataset):
    model = trainer(dataset, regularization=0.01, unobserved_weight=0.1)
    assert not model.is_searching
    assert model.train_epoch(never).note is None


def test_training_ends_when_the_objective_hardly_falls(dataset):
    model = trainer(dataset, regularization=0.01, unobserved_weight=0.1, tolerance=1e-2)
    objectives = []
    while not model.has_converged:
        objectives.append(model.train_epoch(never).extra["objective"])
    gains = -np.diff(objectives) / objectives[:-1]
    assert (gains[:-1] >= 1e-2).all()
    assert gains[-1] < 1e-2
    again = trainer(dataset, regularization=0.01, unobserved_weight=0.1, tolerance=1e-2)
    again.load_state(saved(model.state()))
    assert again.has_converged
    endless = trainer(dataset, regularization=0.01, unobserved_weight=0.1, tolerance=0)
    for _ in range(len(objectives) + 1):
        endless.train_epoch(never)
    assert not endless.has_converged
