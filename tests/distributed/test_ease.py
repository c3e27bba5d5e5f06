"""EASE on ranks: the same weights, bit for bit, on any number; memory is refused before the start."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.checkpoint.compare import content_digests
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import ConfigError
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.families.ease.training import layout
from recsys_dist.families.ease.training.exact import ExactSolver
from recsys_dist.families.ease.training.interactions import Interactions
from recsys_dist.families.ease.training.penalty import Penalty
from recsys_dist.families.ease.training.requirements import Need
from recsys_dist.families.ease.training.sparse import SparseSolver
from recsys_dist.storage.folder import Folder
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run import run_training
from tests.families.cases import config_of, train_alone
from tests.support.ease_reference import random_values
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.ranks import run_ranks

NUM_USERS, NUM_ITEMS, MEAN_LENGTH = 200, 150, 15.0
MEMORY = 20_000_000
PENALTY = Penalty(3.0, dropout=0.3)


def solve(collectives: Collectives, method: str, keep: int | None) -> tuple[list[list[float]], list[list[int]]]:
    layout.MOST_WIDTH = 32
    world = collectives.world
    value_UI = sparse.csr_matrix(random_values(NUM_USERS, NUM_ITEMS, 0.1))
    users = slice(world.rank * NUM_USERS // world.size, (world.rank + 1) * NUM_USERS // world.size)
    solver: ExactSolver | SparseSolver
    if method == "exact":
        interactions = Interactions.of(value_UI[users], MEAN_LENGTH, normalization=0.3)
        solver = ExactSolver(interactions, PENALTY, keep, torch.ones(NUM_ITEMS), collectives)
    else:
        solver = SparseSolver(value_UI, PENALTY, 20, keep, torch.ones(NUM_ITEMS), world)
    for _ in solver.steps():
        pass
    sources = solver.weights.source_Rk
    return solver.weights.weight_Rk.tolist(), [] if sources is None else sources.tolist()


@pytest.mark.parametrize(("method", "keep"), [("exact", None), ("exact", 10), ("sparse", 10)])
def test_ranks_solve_as_one_does(tmp_path: Path, method: str, keep: int | None):
    (alone,) = run_ranks(solve, 1, tmp_path, method, keep)
    for num_ranks in (2, 3, 7) if method == "exact" else (2, 3):
        parts = run_ranks(solve, num_ranks, tmp_path, method, keep)
        assert [row for weights, _ in parts for row in weights] == alone[0]
        assert [row for _, sources in parts for row in sources] == alone[1]


def judged_dataset(path: Path) -> Any:
    """Enough ratings for a holdout, of the users of four shards."""
    user, item, rating = low_rank_ratings(400, 80, 24_000)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.1, 2, 0)
    return write_dataset(path, user, item, rating, split, 400, 80)


def train(collectives: Collectives, dataset: str, run_dir: str) -> None:
    run_training(config_of("ease", dataset, run_dir), collectives, lambda: False)


def test_ranks_choose_the_same_lambda_on_a_holdout(tmp_path: Path):
    dataset = judged_dataset(tmp_path / "dataset").folder.url
    train_alone(config_of("ease", dataset, tmp_path / "1"))
    run_ranks(train, 3, tmp_path, dataset, str(tmp_path / "3"))
    alone, ranks = (find_checkpoint(Folder(str(tmp_path / name))) for name in ("1", "3"))
    assert alone.values["ndcg"] is not None
    digests = [content_digests(one) for one in (alone, ranks)]
    # Sums of floats over users and weights are rounded in the order of ranks.
    rounded = {"values.ndcg", "values.kept", "values.total"}
    assert [{k: v for k, v in one.items() if k not in rounded} for one in digests[:1]] == [
        {k: v for k, v in one.items() if k not in rounded} for one in digests[1:]
    ]


@pytest.mark.parametrize("stop_after", [1, 4, 9, 11])
def test_a_stopped_search_or_solution_ends_as_the_unbroken_one(tmp_path: Path, stop_after: int):
    dataset = judged_dataset(tmp_path / "dataset").folder.url
    whole, broken = (config_of("ease", dataset, tmp_path / name) for name in ("whole", "broken"))
    train_alone(whole)
    assert train_alone(broken, stop_after) is Outcome.PREEMPTED
    assert train_alone(broken) is Outcome.CONVERGED
    digests = [content_digests(find_checkpoint(Folder(one.run_dir))) for one in (whole, broken)]
    assert digests[0] == digests[1]


def refused(collectives: Collectives, dataset: str, run_dir: str) -> str:
    config = config_of("ease", dataset, run_dir, memory_limit=MEMORY)
    model = config.model.model_copy(update={"method": "exact"})
    with pytest.raises(ConfigError) as told:
        run_training(config.model_copy(update={"model": model}), collectives, lambda: False)
    return str(told.value)


def test_more_items_than_fit_are_refused_with_the_most_that_do(tmp_path: Path):
    user, item = np.arange(9000) % 50, np.arange(9000)
    dataset = write_dataset(tmp_path / "d", user, item, np.ones(9000), np.zeros(9000), 50, 9000).folder.url
    told = run_ranks(refused, 2, tmp_path, dataset, str(tmp_path / "run"))
    assert told[0] == told[1]
    found = re.fullmatch(
        r"model\.method: exact needs .* GB on rank 0 for 9,000 items, but training\.memory_limit is 0\.02 GB; "
        r"at most (\d+) items fit 2 ranks; use more ranks on more machines, or method: sparse",
        told[0],
    )
    assert found is not None, told[0]
    most, need = int(found[1]), Need(num_ranks=2, num_users=50, num_interactions=9000, settings=EaseSettings())
    assert need.exact_bytes(most) <= MEMORY < need.exact_bytes(most + 1)
    assert not (tmp_path / "run").exists()
