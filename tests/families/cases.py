"""The families under one contract: those of the package, and the example of one from outside."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.merging import merge
from recsys_dist.protocols.registry import add_family
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run import run_training

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
AUTOREC = {"kind": "autorec", "hidden": 6, "regularization": 5, "implicit_input": 0, "input_dropout": 0}
NEUMF = {"kind": "neumf", "factors": 4, "hidden": [6], "batch_size": 200, "learning_rate": 0.01}
MODELS: dict[str, dict[str, Any]] = {
    "mf-full": {"kind": "mf", "factors": 3},
    "mf-diagonal": {"kind": "mf", "factors": 3, "posterior": "diagonal"},
    "mf-point": {"kind": "mf", "factors": 3, "posterior": "point"},
    "autorec-items": AUTOREC,
    "autorec-users": {**AUTOREC, "orientation": "users"},
    "ials": {"kind": "ials", "factors": 3, "tolerance": 0},
    "neumf": NEUMF,
    "ease": {"kind": "ease"},
    "ease-sparse": {"kind": "ease", "method": "sparse", "neighbors": 20, "keep": 15},
}
EPOCHS = 4


def know_example() -> None:
    """Make the example's family known, as a configuration that names it does."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    add_family("neumf:NeuMF")


def config_of(name: str, dataset: str, run_dir: Path | str, **training: Any) -> TrainConfig:
    """A short training of that model."""
    know_example()
    tree = {
        "dataset": dataset,
        "run_dir": str(run_dir),
        "device": "cpu",
        "model": MODELS[name],
        "training": {"epochs": EPOCHS, **training},
    }
    return TrainConfig.model_validate(tree)


def train_alone(config: TrainConfig, stop_after: int | None = None) -> Outcome:
    """Train in this process; asked to stop when the loop has asked so many times whether it is."""
    asked = 0

    def preempted() -> bool:
        nonlocal asked
        asked += 1
        return stop_after is not None and asked > stop_after

    return run_training(config, Collectives(World.single()), preempted)


def merged(config: TrainConfig, output: Path) -> str:
    """The model folder of a run."""
    merge(config.run_dir, str(output))
    return str(output)
