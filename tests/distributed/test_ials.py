"""iALS on ranks: the same bits on any number of them, also of the search, and resumed on another number."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training import search
from recsys_dist.families.ials.training.trainer import IalsTrainer
from recsys_dist.protocols.family import TrainingSetup
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.ranks import run_ranks
from tests.support.states import saved, single_collectives

GIVEN: dict[str, Any] = {"regularization": 0.02, "unobserved_weight": 0.2}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Enough ratings to search by, in more shards than ranks."""
    user, item, rating = low_rank_ratings(260, 90, 14_000)
    folder = tmp_path_factory.mktemp("data") / "d"
    write_dataset(folder, user, item, rating, np.zeros(len(user), int), num_shards=6)
    return folder


def new_trainer(
    collectives: Collectives, path: Path, memory_limit: int | None = None, **settings: Any
) -> IalsTrainer:
    chosen = IalsSettings(**{"factors": 5, **settings})
    return IalsTrainer(TrainingSetup(Dataset.open(str(path)), chosen, 10, 3, memory_limit, collectives))


def digests(collectives: Collectives, path: Path, settings: dict[str, Any]) -> list[str]:
    """Of the values, and of all rows of users and items, whoever owns them."""
    search.MOST_TRIALS = 3
    trainer = new_trainer(collectives, path, **settings)
    results = [trainer.train_epoch(lambda: False) for _ in range(3)]
    state = trainer.state()
    told = [json.dumps([dict(result.extra) for result in results]), json.dumps(state.values, sort_keys=True)]
    for _, table in sorted(state.tables.items()):
        told.append("".join(collectives.gather_json(table.tensors["vector"].numpy().tobytes().hex())))
    return [hashlib.sha256(text.encode()).hexdigest() for text in told]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [GIVEN, {**GIVEN, "factors": 70}, {"target": None}, {**GIVEN, "memory_limit": 20_000}],
    ids=["few", "many", "search", "memory-limit"],
)
def test_the_bits_do_not_depend_on_the_number_of_ranks(tmp_path, path, settings):
    found = [run_ranks(digests, size, tmp_path / str(size), path, settings) for size in (1, 2, 3)]
    assert {tuple(rank) for ranks in found for rank in ranks} == {tuple(found[0][0])}


def state_after_two(collectives: Collectives, path: Path) -> Any:
    trainer = new_trainer(collectives, path, **GIVEN)
    trainer.train_epoch(lambda: False)
    trainer.train_epoch(lambda: False)
    return trainer.state()


def test_another_number_of_ranks_continues(tmp_path, path):
    halves = run_ranks(state_after_two, 2, tmp_path / "ranks", path)
    resumed, whole = (new_trainer(single_collectives(), path, **GIVEN) for _ in range(2))
    resumed.load_state(saved(*halves))
    resumed.train_epoch(lambda: False)
    for _ in range(3):
        whole.train_epoch(lambda: False)
    for name, table in whole.state().tables.items():
        assert torch.equal(resumed.state().tables[name].tensors["vector"], table.tensors["vector"])
