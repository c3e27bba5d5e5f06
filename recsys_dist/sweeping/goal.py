"""What a sweep improves: an error or a figure of lists, on validation ratings. Test ratings are never read."""

from __future__ import annotations

import enum
import math
import tempfile
from pathlib import Path

from recsys_dist.checkpoint.checkpoint import best_checkpoint
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError, DataError, TrainingError
from recsys_dist.evaluation.evaluate import measure
from recsys_dist.evaluation.settings import EvaluationSettings
from recsys_dist.inference.loading import load_predictor
from recsys_dist.merging import merge
from recsys_dist.storage.folder import Folder
from recsys_dist.suggestions import did_you_mean
from recsys_dist.training.config import TrainConfig

TOP = 10


class Goal(enum.Enum):
    """What is better."""

    RATINGS = "ratings"
    """A lower validation RMSE, in the best epoch."""
    LISTS = "lists"
    """A higher nDCG@10 of lists for users with validation ratings."""

    @property
    def figure(self) -> str:
        """The name of its figure."""
        return "valid RMSE" if self is Goal.RATINGS else f"valid nDCG@{TOP}"

    @property
    def direction(self) -> str:
        """The direction of the study."""
        return "minimize" if self is Goal.RATINGS else "maximize"


def choose_goal(name: str | None, config: TrainConfig, dataset: Dataset) -> Goal:
    """The goal of that name; None: ratings for a model that needs them, else lists.

    Raises `ConfigError` or `DataError` if the model or the dataset has no such figure.
    """
    names = [one.value for one in Goal]
    if name is None:
        name = names[0] if config.family.needs_ratings else names[1]
    if name not in names:
        raise ConfigError(f"--for {name!r} is not one of {', '.join(names)}{did_you_mean(name, names)}")
    goal = Goal(name)
    if not dataset.manifest.num_ratings.get("valid"):
        raise DataError(
            f"{dataset.folder.url} has no valid ratings to judge by; prepare it with split.valid above 0"
        )
    if goal is Goal.RATINGS and not config.family.needs_ratings:
        raise ConfigError(f"--for ratings: a model of kind {config.model.kind} makes lists; use --for lists")
    if goal is Goal.RATINGS and dataset.manifest.holds_out_users:
        raise ConfigError("--for ratings: the split holds out whole users, so no epoch is judged; use --for lists")
    return goal


def measured(goal: Goal, config: TrainConfig) -> float:
    """The figure of a finished run, whose folder is local. Raises `TrainingError` if it has none."""
    return _rmse(config) if goal is Goal.RATINGS else _ndcg(config)


def _rmse(config: TrainConfig) -> float:
    best = best_checkpoint(Folder(config.run_dir))
    if best is None:
        raise TrainingError(
            "no epoch has a validation RMSE, since a search took all of them; raise training.epochs"
        )
    return best[1]


def _ndcg(config: TrainConfig) -> float:
    with tempfile.TemporaryDirectory(prefix="model-", dir=config.run_dir) as folder:
        path = str(Path(folder) / "model")
        merge(config.run_dir, path)
        model = load_predictor(path, "cpu")
        settings = EvaluationSettings(split="valid", top=(TOP,))
        ranking = measure(model, Dataset.open(config.dataset), settings).report.ranking
    ndcg = None if ranking is None else ranking.at(TOP).ndcg
    if ndcg is None or not math.isfinite(ndcg):
        raise TrainingError("no user has a validation rating that is liked, so lists cannot be judged")
    return ndcg
