"""Blend trained models into one: a weighted sum, written as a model folder of kind `blend`.

In: model folders and the prepared dataset that all were trained on. Out: one model folder, complete or absent.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from recsys_dist.blending.judging import Judging, judged_users
from recsys_dist.blending.refit import LEAST_RATINGS, Say, train_again
from recsys_dist.blending.weights import Fitted, fit_for_lists, fit_for_ratings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import CheckpointError, ConfigError
from recsys_dist.inference.loading import load_predictor
from recsys_dist.inference.predictor import Predictor
from recsys_dist.model_folder.manifest import MODEL_FILE, ModelManifest
from recsys_dist.model_folder.parts import copy_part, copy_shared, part_of
from recsys_dist.model_folder.writer import ModelWriter, new_folder
from recsys_dist.storage.folder import Folder
from recsys_dist.suggestions import did_you_mean

Goal = Literal["lists", "ratings"]
GOALS: tuple[Goal, ...] = get_args(Goal)
BLEND = "blend"


@dataclass(frozen=True)
class Blended:
    """What was written, from which model folders, with which weights."""

    manifest: ModelManifest
    models: tuple[str, ...]
    goal: Goal
    fitted: Fitted


def blend(
    models: Sequence[str],
    dataset_url: str,
    output: str,
    goal: str = "lists",
    weights: Sequence[float] | None = None,
    device: str = "cpu",
    say: Say = lambda _line: None,
) -> Blended:
    """Write the weighted sum of `models` (folders) to the new folder `output`.

    `goal` is `lists` (weights with the largest nDCG@10) or `ratings` (least squares). They are fitted on the
    validation ratings of the dataset. If it has none, each model is trained once more without a twentieth of the
    train ratings, by which the weights are judged. Test ratings are never read. Given `weights` are used as they
    are. `say` shows a line of progress. Raises `ConfigError` or `CheckpointError` for models that do not go
    together, weights that are not finite, or an `output` that exists.
    """
    chosen = parse_goal(goal)
    if len(models) < 2:
        raise ConfigError("a blend needs two models or more")
    _require_weights(weights, len(models))
    if Folder(output).exists():
        raise CheckpointError(f"{output} exists already; remove it or give another output")
    dataset = Dataset.open(dataset_url)
    opened = [load_predictor(url, device, verify=True) for url in models]
    _require_alike(opened, dataset, chosen)
    fitted = _fit(opened, dataset, chosen, device, say) if weights is None else Fitted(tuple(map(float, weights)))
    with new_folder(output) as folder:
        manifest = _write(folder, opened, chosen, fitted)
    return Blended(manifest, tuple(models), chosen, fitted)


def _fit(models: Sequence[Predictor], dataset: Dataset, goal: Goal, device: str, say: Say) -> Fitted:
    # Of users held out as a whole, the models know no rating.
    holds_out_users = dataset.manifest.split.rule.get("kind") == "users"
    if dataset.manifest.num_ratings.get("valid", 0) >= LEAST_RATINGS and not holds_out_users:
        return _fit_on(models, judged_users(models[0], dataset, "valid", "validation ratings"), goal)
    with tempfile.TemporaryDirectory(prefix="recsys_dist-blend-") as folder:
        trained, reduced = train_again(models, dataset, device, Path(folder), say)
        return _fit_on(trained, judged_users(trained[0], reduced, "test", "withheld train ratings"), goal)


def _fit_on(models: Sequence[Predictor], judging: Judging, goal: Goal) -> Fitted:
    if goal == "ratings":
        return fit_for_ratings(models, judging)
    return fit_for_lists(models, judging, models[0].catalog.rating.mean)


def parse_goal(text: str) -> Goal:
    """What the blend is for. Raises `ConfigError` if it is neither `lists` nor `ratings`."""
    for goal in GOALS:
        if goal == text:
            return goal
    raise ConfigError(f"--for {text}: a blend is for {' or '.join(GOALS)}{did_you_mean(text, GOALS)}")


def _require_weights(weights: Sequence[float] | None, num_models: int) -> None:
    if weights is None:
        return
    if len(weights) != num_models:
        raise ConfigError(f"{len(weights)} weights for {num_models} models; give one weight for each model")
    if not all(map(math.isfinite, weights)) or not any(weights):
        raise ConfigError(f"weights {', '.join(map(str, weights))}: use finite numbers, not all 0")


def _require_alike(models: Sequence[Predictor], dataset: Dataset, goal: Goal) -> None:
    """Raise `ConfigError` unless all models were trained on this dataset and can serve the goal."""
    urls = [model.catalog.url for model in models]
    digests = [model.catalog.folder.manifest.contents_digest for model in models]
    for number, (url, digest) in enumerate(zip(urls, digests, strict=True)):
        if digest in digests[:number]:
            raise ConfigError(f"{url} is the same model as {urls[digests.index(digest)]}; give different models")
    for model, url in zip(models, urls, strict=True):
        manifest = model.catalog.folder.manifest
        if manifest.kind == BLEND:
            raise ConfigError(f"{url} is a blend itself; give the models that it was made of")
        if manifest.provenance.dataset_digest != dataset.digest:
            same_split = manifest.provenance.split_fingerprint == dataset.manifest.split.fingerprint
            other = "another version of that dataset" if same_split else "another dataset, or another split"
            raise ConfigError(
                f"{url} was trained on {other} than {dataset.folder.url}; blend models of one dataset"
            )
        if goal == "ratings" and not model.scorer.predicts_ratings:
            raise ConfigError(f"--for ratings: {url} ranks items and predicts no ratings; leave it out")


def _write(folder: Folder, models: Sequence[Predictor], goal: Goal, fitted: Fitted) -> ModelManifest:
    writer, folders = ModelWriter(folder), [model.catalog.folder for model in models]
    for number, source in enumerate(folders):
        copy_part(source, number, writer)
    copy_shared(folders[0], writer)
    parts = [part_of(source).model_dump(mode="json") for source in folders]
    first = folders[0].manifest
    manifest = first.model_copy(
        update={
            "kind": BLEND,
            "step": 0,
            "facts": {
                "goal": goal,
                "weights": list(fitted.weights),
                "intercept": fitted.intercept,
                "parts": parts,
            },
            "config": {"model": {"kind": BLEND}},
            "files": tuple(writer.files),
        }
    )
    folder.write_bytes(MODEL_FILE, manifest.to_bytes())
    return manifest
