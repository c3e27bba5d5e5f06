"""Merge the sharded checkpoint of a run into one model folder (see model_folder/folder.py for its form).

In: a run folder, the dataset it was trained on. Out: MODEL_DIR, complete or absent. Rows are streamed in
canonical ranges, so memory does not grow with the model and the result does not depend on how many ranks wrote the
checkpoint. Needs neither a process group nor a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import JsonValue

from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.checkpoint.state import SavedRun
from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.model_folder.manifest import MODEL_FILE, ModelManifest, Provenance
from recsys_dist.model_folder.writer import ModelWriter, new_folder
from recsys_dist.progress import Progress, say_nothing
from recsys_dist.protocols.family import ModelFamily, ModelSettings
from recsys_dist.protocols.registry import known_family
from recsys_dist.storage.folder import Folder
from recsys_dist.version import __version__


def merge(
    run_dir: str,
    output: str,
    step: int | None = None,
    dataset_url: str | None = None,
    progress: Progress = say_nothing,
) -> ModelManifest:
    """Write the model of `run_dir` after `step` epochs to the new folder `output`.

    Without a step: the best by validation RMSE, or the newest. `dataset_url` is where the dataset of the run is,
    if it has moved. Raises `CheckpointError` if the checkpoint or the dataset is unusable or `output` exists.
    """
    if Folder(output).exists():
        raise CheckpointError(f"{output} exists already; remove it or give another output")
    run = find_checkpoint(Folder(run_dir), step)
    dataset = _open_dataset(run, dataset_url)
    with new_folder(output) as folder:
        return write_model(run, dataset, folder, progress)


def write_model(run: SavedRun, dataset: Dataset, folder: Folder, progress: Progress) -> ModelManifest:
    """Write the model of a saved run and its dataset into an empty folder."""
    _check_dataset(run, dataset)
    writer = ModelWriter(folder)
    family, settings = _family_of(run)
    facts = family.export(run, settings, dataset, writer, progress)
    progress("copying ids and ratings", 0, 1)
    writer.copy_dataset(dataset)
    progress("copying ids and ratings", 1, 1)
    manifest = _manifest(run, family.name, dataset, writer, facts)
    folder.write_bytes(MODEL_FILE, manifest.to_bytes())
    return manifest


def _family_of(run: SavedRun) -> tuple[ModelFamily[Any], ModelSettings]:
    tree: Any = run.config.get("model")
    family = known_family(str(tree.get("kind")) if isinstance(tree, dict) else "", of="the run")
    return family, parse_settings(family.settings, tree, source="the configuration of the run")


def _open_dataset(run: SavedRun, url: str | None) -> Dataset:
    if url is not None:
        return Dataset.open(url)
    named = str(run.config.get("dataset"))
    try:
        return Dataset.open(named)
    except DataError as error:
        raise DataError(f"{error}; the run names it as {named!r}: if it has moved, give --dataset") from None


def _check_dataset(run: SavedRun, dataset: Dataset) -> None:
    trained_on = run.details.get("dataset_digest")
    if trained_on != dataset.digest:
        raise CheckpointError(
            f"{dataset.folder.url} is not the dataset that the run was trained on (its manifest has the sha256 "
            f"{dataset.digest[:12]}, the run recorded {str(trained_on)[:12]}); name that dataset with --dataset"
        )


def _manifest(
    run: SavedRun, kind: str, dataset: Dataset, writer: ModelWriter, facts: Mapping[str, JsonValue]
) -> ModelManifest:
    return ModelManifest(
        kind=kind,
        step=run.step,
        num_users=dataset.num_users,
        num_items=dataset.num_items,
        rating=dataset.manifest.rating,
        user_shards=dataset.manifest.user_shards,
        config=run.config,
        provenance=Provenance(
            dataset_digest=dataset.digest,
            split_fingerprint=dataset.manifest.split.fingerprint,
            recsys_dist=__version__,
        ),
        files=tuple(writer.files),
        facts=dict(facts),
    )
