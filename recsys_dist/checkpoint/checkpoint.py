"""One committed checkpoint, read-only. Needs no process group and no GPU, and never unpickles.

In: RUN_DIR/checkpoints/step-.../ as the store writes it. Out: any range of rows of any table, for any number of
ranks, writing or reading.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

import torch
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import load

from recsys_dist.checkpoint.best import best_of, preference
from recsys_dist.checkpoint.manifest import (
    COMMITTED,
    CheckpointManifest,
    CheckpointName,
    TableFile,
    TableSpec,
    read_manifest,
)
from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.storage.folder import Folder
from recsys_dist.storage.holdings import Holding, holding, instead_of

CHECKPOINTS = "checkpoints"
logger = logging.getLogger(__name__)


class Checkpoint:
    """A saved state (a `StateReader`) with its details."""

    def __init__(self, folder: Folder, manifest: CheckpointManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Folder, verify: bool = True) -> Checkpoint:
        """Open the checkpoint in `folder`; with `verify`, check the hash of every file first.

        Raises `CheckpointError` that names a missing or damaged file.
        """
        try:
            checkpoint = cls(folder, read_manifest(folder))
        except DataError as error:
            raise CheckpointError(str(error)) from error
        if verify:
            checkpoint.verify()
        return checkpoint

    @property
    def name(self) -> CheckpointName:
        """Step and part, which order the checkpoints of the run."""
        return CheckpointName(self.manifest.step, self.manifest.part)

    @property
    def step(self) -> int:
        """Completed epochs."""
        return self.manifest.step

    @property
    def tables(self) -> Mapping[str, TableSpec]:
        """The spec of each table: `num_rows`, and `dtype` and global `shape` of each tensor."""
        return self.manifest.tables

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """The replicated values of the trainer."""
        return self.manifest.values

    @property
    def details(self) -> Mapping[str, JsonValue]:
        """Details from the training loop: configuration, dataset, versions, validation."""
        return self.manifest.details

    @property
    def config(self) -> dict[str, JsonValue]:
        """The resolved configuration of the run; empty if not recorded."""
        config = self.details.get("config")
        return config if isinstance(config, dict) else {}

    @property
    def valid_rmse(self) -> float | None:
        """Validation RMSE at this point; None without validation."""
        rmse = self.details.get("valid_rmse")
        return float(rmse) if isinstance(rmse, int | float) else None

    def verify(self, rank: int = 0, world_size: int = 1) -> None:
        """Check size and hash of every file, or of this rank's share of the files."""
        try:
            for file in self.manifest.files[rank::world_size]:
                self.folder.verify(file)
        except DataError as error:
            raise CheckpointError(str(error)) from error

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows start .. stop of a table, each tensor [stop - start, ...], on the CPU.

        On a local disk, reads only these rows; elsewhere, the whole files that contain them.
        """
        spec = self._table(table)
        if not 0 <= start <= stop <= spec.num_rows:
            raise CheckpointError(
                f"{self.folder.url} has rows 0 .. {spec.num_rows} of table {table!r}, not {start} .. {stop}"
            )
        rows = {
            name: torch.empty((stop - start, *tensor.shape[1:]), dtype=tensor.torch_dtype, device="cpu")
            for name, tensor in spec.tensors.items()
        }
        for file in spec.files:
            first, last = max(start, file.start), min(stop, file.stop)
            if first < last:
                for name, part in self._read_file(file, spec, first - file.start, last - file.start).items():
                    rows[name][first - start : last - start] = part
        return rows

    def _table(self, table: str) -> TableSpec:
        try:
            return self.tables[table]
        except KeyError:
            has = ", ".join(self.tables) or "none"
            raise CheckpointError(
                f"{self.folder.url} has no table {table!r} (it has: {has}); it belongs to another model"
            ) from None

    def _read_file(self, file: TableFile, spec: TableSpec, first: int, last: int) -> dict[str, torch.Tensor]:
        try:
            self.folder.check_size(file)
            # safetensors creates tensors on torch's default device, which the caller may have changed.
            with torch.device("cpu"):
                rows = self._slices(file, spec, first, last)
        except (SafetensorError, DataError, KeyError) as error:
            raise CheckpointError(f"{self.folder.url}/{file.name} cannot be read: {error}") from error
        for name, part in rows.items():
            tensor = spec.tensors[name]
            if part.dtype != tensor.torch_dtype or part.shape != (last - first, *tensor.shape[1:]):
                raise CheckpointError(f"{self.folder.url}/{file.name}: {name} does not match the manifest")
        return rows

    def _slices(self, file: TableFile, spec: TableSpec, first: int, last: int) -> dict[str, torch.Tensor]:
        if not self.folder.is_local:
            tensors = load(self.folder.read_recorded(file))
            return {name: tensors[name][first:last] for name in spec.tensors}
        with safe_open(self.folder.local_path(file.name), framework="pt", device="cpu") as stored:
            return {name: stored.get_slice(name)[first:last] for name in spec.tensors}


def committed_names(checkpoints: Folder) -> list[CheckpointName]:
    """Names of the committed checkpoints in RUN_DIR/checkpoints, oldest first, including damaged ones."""
    names = (CheckpointName.parse(text) for text in checkpoints.names())
    return sorted(name for name in names if name is not None and checkpoints.exists(f"{name}/{COMMITTED}"))


def find_checkpoint(run_dir: Folder, step: int | None = None) -> Checkpoint:
    """The checkpoint of a run after `step` epochs; without a step the best (best.py), else the latest.

    Verified in full. A damaged checkpoint is an error if requested by its step, otherwise it is skipped with a
    warning. Raises `CheckpointError` if no checkpoint can be used.
    """
    checkpoints = run_dir.child(CHECKPOINTS)
    names = committed_names(checkpoints)
    if step is not None:
        return _open_step(checkpoints, names, step)
    found = open_sound(checkpoints, names, verify=False)
    for checkpoint in sorted(found, key=lambda checkpoint: preference(checkpoint.valid_rmse, checkpoint.name)):
        if open_sound(checkpoints, [checkpoint.name], verify=True):
            return checkpoint
    if not names and holding(run_dir.url) not in {Holding.RUN, Holding.OTHER}:
        raise CheckpointError(instead_of(run_dir.url, Holding.RUN))
    what = "only damaged checkpoints" if names else "no complete checkpoint"
    raise CheckpointError(f"{run_dir.url} has {what}; train first, or name another run folder")


def best_checkpoint(run_dir: Folder) -> tuple[CheckpointName, float] | None:
    """The checkpoint that `find_checkpoint` selects, with its validation RMSE; None if none has one.

    Reads only manifests and does not check files. Raises `CheckpointError` if the storage does not answer.
    """
    checkpoints = run_dir.child(CHECKPOINTS)
    found = open_sound(checkpoints, committed_names(checkpoints), verify=False)
    return best_of({checkpoint.name: checkpoint.valid_rmse for checkpoint in found})


def open_sound(checkpoints: Folder, names: Iterable[CheckpointName], verify: bool) -> list[Checkpoint]:
    """Open the checkpoints of these names and skip damaged ones with a warning.

    Raises `CheckpointError` if the storage does not answer, since its checkpoints may be sound.
    """
    sound = []
    for name in names:
        try:
            sound.append(Checkpoint.open(checkpoints.child(str(name)), verify))
        except CheckpointError as error:
            if storage_failed(error):
                raise
            logger.warning("skipped a damaged checkpoint: %s", error)
    return sound


def storage_failed(error: BaseException | None) -> bool:
    """Whether the storage did not answer, as opposed to a damaged or missing file."""
    while error is not None:
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            return True
        error = error.__cause__
    return False


def _open_step(checkpoints: Folder, names: list[CheckpointName], step: int) -> Checkpoint:
    of_step = [name for name in names if name.step == step]
    if not of_step:
        there = ", ".join(sorted({str(name.step) for name in names}, key=int)) or "none"
        raise CheckpointError(f"{checkpoints.url} has no checkpoint of step {step}; available steps: {there}")
    whole = CheckpointName(step)
    return Checkpoint.open(checkpoints.child(str(whole if whole in of_step else of_step[-1])))
