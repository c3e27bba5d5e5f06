"""What a plan says of the traffic is what the ranks receive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.mf.em import constrained
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.registry import family_named
from tests.support.prepared import small_dataset
from tests.support.ranks import run_ranks

GIVEN = {"hidden": 6, "regularization": 5, "implicit_input": 0, "input_dropout": 0}
MODELS: dict[str, dict[str, Any]] = {
    "full": {"kind": "mf", "factors": 3, "constrained": "both", "noise": "both"},
    "full, plain": {"kind": "mf", "factors": 3, "constrained": "none", "noise": "shared"},
    "point": {"kind": "mf", "factors": 3, "posterior": "point"},
    "diagonal": {"kind": "mf", "factors": 3, "posterior": "diagonal", "constrained": "both", "noise": "both"},
    "diagonal, plain": {
        "kind": "mf",
        "factors": 3,
        "posterior": "diagonal",
        "constrained": "none",
        "noise": "shared",
    },
    "ials": {"kind": "ials", "factors": 3, "regularization": 0.01, "unobserved_weight": 0.3},
    "ddp": {"kind": "autorec", "parallel": "ddp", **GIVEN},
    "sharded": {"kind": "autorec", "parallel": "sharded", "orientation": "users", **GIVEN},
    "ease": {"kind": "ease", "regularization": 10, "user_normalization": 0, "popularity_discount": 0},
}


def planned_and_received(collectives: Collectives, path: str) -> list[tuple[str, int, int]]:
    """For each model what a rank was to receive in its second epoch, or the only one, and what it received."""
    # The plan counts two steps for each constraint, the most that an epoch takes.
    constrained.ENOUGH = -1.0
    dataset, counts = Dataset.open(path), []
    for name, tree in MODELS.items():
        family = family_named(tree["kind"])
        settings = family.settings.model_validate(tree)
        setup: TrainingSetup[Any] = TrainingSetup(dataset, settings, 3, 0, None, collectives)
        plan = family.plan(setup.planned())
        assert plan is not None
        trainer = family.trainer(setup)
        for _ in range(1 if plan.is_whole else 2):
            before = collectives.received_bytes
            trainer.train_epoch(lambda: False)
            trainer.validate()
        counts.append(
            (name, plan.ranks[collectives.world.rank].received_bytes, collectives.received_bytes - before)
        )
    return counts


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("planned")
    small_dataset(folder)
    return str(folder)


@pytest.mark.parametrize("num_ranks", [1, 3])
def test_ranks_receive_what_was_planned(path: str, tmp_path: Path, num_ranks: int) -> None:
    for counts in run_ranks(planned_and_received, num_ranks, tmp_path, path):
        for name, planned, received in counts:
            assert planned == pytest.approx(received, rel=0.02), name
