"""Merge the sharded checkpoint of a run into one model folder (see model_folder.py for its form).

In: a run folder, the dataset it was trained on. Out: MODEL_DIR, complete or not there at all. Rows are streamed
in canonical ranges, so that memory does not grow with the model and the result does not depend on how many ranks
wrote the checkpoint. Needs neither a process group nor a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from pydantic import JsonValue, ValidationError

from recsys_dist import __version__
from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.checkpoint.merge_autorec import StageProgress, write_autorec
from recsys_dist.checkpoint.model_folder import (
    MODEL_FILE,
    FoldIn,
    ModelManifest,
    ModelWriter,
    PosteriorFoldIn,
    Provenance,
    covariances_of,
    new_folder,
)
from recsys_dist.checkpoint.state import StateReader
from recsys_dist.checkpoint.tables import CHUNK_ROWS
from recsys_dist.data.dataset import SIDES, Dataset, Side
from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.storage import Folder


class SavedRun(StateReader, Protocol):
    """A checkpoint and what was noted beside it."""

    @property
    def step(self) -> int:
        """Epochs trained."""

    @property
    def config(self) -> dict[str, JsonValue]:
        """The resolved configuration of the run."""

    @property
    def details(self) -> Mapping[str, JsonValue]:
        """What the training loop noted, the digest of the dataset among it."""


def merge(
    run_dir: str,
    output: str,
    step: int | None = None,
    dataset_url: str | None = None,
    progress: StageProgress = lambda _stage, _done, _total: None,
) -> ModelManifest:
    """Write the model of `run_dir` after `step` epochs to the new folder `output`.

    Without a step: the best by validation RMSE, or the newest. `dataset_url` tells where the dataset of the run
    lies now. Raises `CheckpointError` where the checkpoint or the dataset is not usable, or `output` exists.
    """
    if Folder(output).exists():
        raise CheckpointError(f"{output} exists already; remove it or give another output")
    run = find_checkpoint(Folder(run_dir), step)
    dataset = _open_dataset(run, dataset_url)
    with new_folder(output) as folder:
        return write_model(run, dataset, folder, progress)


def write_model(run: SavedRun, dataset: Dataset, folder: Folder, progress: StageProgress) -> ModelManifest:
    """Write the model of a saved run and its dataset into an empty folder."""
    _check_dataset(run, dataset)
    writer = ModelWriter(folder)
    model: Any = run.config.get("model")
    kind = model["kind"] if isinstance(model, dict) else None
    if kind == "mf":
        facts = _write_mf(run, model.get("posterior") == "full", dataset, writer, progress)
    elif kind == "autorec":
        facts = write_autorec(run, model, dataset, writer, progress)
    else:
        raise CheckpointError(f"the checkpoint is of a model kind {kind!r}; this version merges mf and autorec")
    progress("copying ids and ratings", 0, 1)
    writer.copy_dataset(dataset)
    progress("copying ids and ratings", 1, 1)
    manifest = _manifest(run, kind, dataset, writer, facts)
    folder.write_bytes(MODEL_FILE, manifest.to_bytes())
    return manifest


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
            f"{dataset.digest[:12]}, the run noted {str(trained_on)[:12]}); name that dataset with --dataset"
        )


def _manifest(
    run: SavedRun, kind: str, dataset: Dataset, writer: ModelWriter, facts: Mapping[str, Any]
) -> ModelManifest:
    return ModelManifest(
        kind=kind,
        step=run.step,
        num_users=dataset.num_users,
        num_items=dataset.num_items,
        rating=dataset.manifest.rating,
        user_shards=dataset.manifest.user_shards,
        config=run.config,
        provenance=Provenance(dataset_digest=dataset.digest, recsys_dist=__version__),
        files=tuple(writer.files),
        **facts,
    )


def _write_mf(
    run: SavedRun, with_covariances: bool, dataset: Dataset, writer: ModelWriter, progress: StageProgress
) -> dict[str, Any]:
    """Users (p_u, b_u) and items (q_i, c_i): prediction mu + b_u + c_i + p_u . q_i."""
    for side in SIDES:
        _write_means(run, side, dataset.num_rows(side), writer, progress)
        if with_covariances:
            _write_covariances(run, side, dataset.num_rows(side), writer)
    return {"offset": run.values["mu"], "output_activation": "identity", "fold_in": _posterior_fold_in(run)}


def _write_means(run: SavedRun, side: Side, num_rows: int, writer: ModelWriter, progress: StageProgress) -> None:
    with writer.table(side) as factors:
        for start, stop in _row_ranges(num_rows):
            factors.append(_vector_and_bias(run.read_rows(side, start, stop)["mean"]))
            progress(f"merging {side}", stop, num_rows)
        factors.append(_vector_and_bias(_prior_row(run, side)["mean"]))


def _write_covariances(run: SavedRun, side: Side, num_rows: int, writer: ModelWriter) -> None:
    with writer.table(covariances_of(side)) as covariances:
        for start, stop in _row_ranges(num_rows):
            covariances.append({"covariance": run.read_rows(side, start, stop)["covariance"]})
        covariances.append({"covariance": _prior_row(run, side)["covariance"]})


def _row_ranges(num_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, num_rows, CHUNK_ROWS):
        yield start, min(start + CHUNK_ROWS, num_rows)


def _vector_and_bias(mean_Rn: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"vector": mean_Rn[:, :-1].contiguous(), "bias": mean_Rn[:, -1].contiguous()}


def _prior_row(run: SavedRun, side: Side) -> dict[str, torch.Tensor]:
    """What is known of a user or item without ratings: the prior, as one row of the table."""
    name = f"{side.removesuffix('s')}_prior"
    mean_n = torch.tensor(run.values[f"{name}_mean"], dtype=torch.float32, device="cpu")
    covariance_nn = torch.tensor(run.values[f"{name}_covariance"], dtype=torch.float32, device="cpu")
    rows_T, columns_T = torch.triu_indices(len(mean_n), len(mean_n), device="cpu")
    return {"mean": mean_n[None], "covariance": covariance_nn[rows_T, columns_T][None]}


def _posterior_fold_in(run: SavedRun) -> FoldIn:
    try:
        return PosteriorFoldIn.model_validate(
            {
                "noise_variance": run.values["noise_variance"],
                "prior_mean": run.values["user_prior_mean"],
                "prior_covariance": run.values["user_prior_covariance"],
            }
        )
    except (KeyError, ValidationError) as error:
        raise CheckpointError(f"the checkpoint does not hold a matrix factorization: {error}") from None
