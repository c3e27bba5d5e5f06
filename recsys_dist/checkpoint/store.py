"""The checkpoints of one run: saved by all ranks together, found, and purged.

In: each rank's rows of a `TrainerState`. Out: RUN_DIR/checkpoints/step-.../ (see manifest.py). A later run trusts
a checkpoint only if it contains COMMITTED. That file is written last and removed first, so a kill at any moment
leaves either a complete checkpoint or one without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from pydantic import JsonValue
from safetensors.torch import save as to_safetensors

from recsys_dist.checkpoint.best import best_of
from recsys_dist.checkpoint.checkpoint import (
    CHECKPOINTS,
    Checkpoint,
    best_checkpoint,
    committed_names,
    storage_failed,
)
from recsys_dist.checkpoint.manifest import (
    COMMITTED,
    MANIFEST,
    CheckpointManifest,
    CheckpointName,
    TableFile,
    build_manifest,
    committed_bytes,
    table_file_name,
)
from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import CheckpointError, RecsysDistError, StorageError, TrainingError
from recsys_dist.storage.folder import Folder, sync_folder

FILE_BYTES = 64 << 20
"""Approximate size of a file. A save holds three copies of it at a time, besides the rows themselves."""
HEADER_BYTES = 1 << 16
"""Upper bound for the names and shapes in a file."""
logger = logging.getLogger(__name__)


class CheckpointStore:
    """Saves, finds and purges the checkpoints below `folder` (RUN_DIR). Its methods are collective."""

    def __init__(self, folder: Folder, collectives: Collectives, keep: int) -> None:
        self._run_dir = folder
        self._checkpoints = folder.child(CHECKPOINTS)
        self._collectives = collectives
        self._keep = keep
        self._damaged: set[CheckpointName] = set()
        self._has_folder = False
        """Whether RUN_DIR/checkpoints was created or found; from then on it must exist."""

    def save(
        self, state: TrainerState, step: int, details: Mapping[str, JsonValue], whole_epoch: bool = True
    ) -> CheckpointName:
        """Write a new checkpoint after `step` whole epochs, commit it, then purge old ones.

        `whole_epoch` False: the save is within the epoch after `step`. `details` are the same on all ranks: the
        configuration under `config`, the validation RMSE under `valid_rmse`. Raises `TrainingError` on every rank
        if it fails on any; a later run then ignores the incomplete checkpoint.
        """
        doing = f"saving the checkpoint of step {step}"
        name = self._begin(doing, step, whole_epoch)
        folder = self._checkpoints.child(str(name)).expect()
        try:
            manifest = self._write(doing, folder, name, state, details)
            self._on_first(doing, lambda: _commit(folder, manifest))
        except RecsysDistError:
            if self._collectives.world.is_first:
                _discard_failed(folder)
            raise
        if self._collectives.world.is_first:
            self._purge()
        return name

    def latest(self) -> Checkpoint | None:
        """The newest committed checkpoint that verifies; None if there is no checkpoint. Ranks share the files.

        A damaged checkpoint is skipped with a warning and removed by the next save. Raises `CheckpointError` if
        all are damaged.
        """
        names = self._on_first("looking for checkpoints", lambda: committed_names(self._checkpoints))
        self._has_folder = bool(names)
        problems: list[str] = []
        for name in reversed([CheckpointName(*name) for name in names]):
            checkpoint, problem = self._open(name)
            if checkpoint is not None:
                return checkpoint
            self._damaged.add(name)
            problems.append(problem)
        if problems:
            raise CheckpointError(f"every checkpoint of {self._run_dir.url} is damaged: {'; '.join(problems)}")
        return None

    def best(self) -> tuple[int, float] | None:
        """Epochs and validation RMSE of the checkpoint that `merge` takes; None if none has one."""
        found = self._on_first("looking for the best checkpoint", lambda: best_checkpoint(self._run_dir))
        return None if found is None else (found[0][0], found[1])

    def _on_first(self, doing: str, work: Callable[[], Any]) -> Any:
        """Run `work` on rank 0 and broadcast its JSON-able result; a failure raises on all ranks."""
        is_first = self._collectives.world.is_first
        result = self._collectives.together(doing, lambda: work() if is_first else None)
        return self._collectives.gather_json(result)[0]

    def _open(self, name: CheckpointName) -> tuple[Checkpoint | None, str]:
        world = self._collectives.world
        checkpoint, problem, is_unreadable = None, "", False
        try:
            checkpoint = Checkpoint.open(self._checkpoints.child(str(name)), verify=False)
            checkpoint.verify(world.rank, world.size)
        except (CheckpointError, OSError) as error:
            problem, is_unreadable = str(error), storage_failed(error)
        problems = [theirs for theirs in self._collectives.gather_json([problem, is_unreadable]) if theirs[0]]
        if not problems:
            return checkpoint, ""
        for rank_problem, is_unreadable in problems:
            if is_unreadable:
                # It may be sound: if skipped, its epochs would be trained again, and the next save would remove
                # it.
                raise CheckpointError(
                    f"cannot read {self._checkpoints.url}/{name}: {rank_problem}; try again later"
                )
        problems = [theirs for theirs, _ in problems]
        if world.is_first:
            logger.warning("skipped a damaged checkpoint: %s", problems[0])
        return None, problems[0]

    def _begin(self, doing: str, step: int, whole_epoch: bool) -> CheckpointName:
        """Remove incomplete and damaged checkpoints, and create the new folder; the same name on all ranks."""
        return CheckpointName(*self._on_first(doing, lambda: self._make_folder(step, whole_epoch)))

    def _make_folder(self, step: int, whole_epoch: bool) -> CheckpointName:
        there = {name: text for text in self._checkpoints.names() if (name := CheckpointName.parse(text))}
        for name in there.keys() - (set(committed_names(self._checkpoints)) - self._damaged):
            _discard(self._checkpoints.child(there.pop(name)))
        self._damaged.clear()
        last_part = max((name.part for name in there if name.step == step), default=0)
        name = CheckpointName(step, 0 if whole_epoch else last_part + 1)
        if name in there:
            raise CheckpointError(
                f"{self._checkpoints.url}/{name} exists already; resume from it, or use another run_dir"
            )
        if not self._has_folder:
            self._run_dir.make_child(CHECKPOINTS)
            self._has_folder = True
        self._checkpoints.expect().make_child(str(name))
        if self._checkpoints.is_local:
            for parent in (self._checkpoints.local_path(""), self._run_dir.local_path("")):
                sync_folder(parent)
        return name

    def _write(
        self,
        doing: str,
        folder: Folder,
        name: CheckpointName,
        state: TrainerState,
        details: Mapping[str, JsonValue],
    ) -> CheckpointManifest:
        """Write this rank's rows, and build the manifest of all ranks' files, the same on every rank."""
        values = self._collectives.together(doing, lambda: _plain(state.values, "the state"))
        self._collectives.require_same({"the values of the trainer state": _digest(values)})
        local = self._collectives.together(doing, lambda: _write_tables(folder, state.tables))
        tree = {
            "step": name.step,
            "part": name.part,
            "tables": _join_tables(self._collectives.gather_json(local)),
            "values": values,
            "details": _plain(details, "the details"),
        }
        try:
            return build_manifest(tree, f"{folder.url}/{MANIFEST}")
        except CheckpointError as error:
            raise TrainingError(f"{doing} failed: {error}") from error

    def _purge(self) -> None:
        """Remove all but the newest `keep` and the best; failures only give a warning."""
        try:
            names = committed_names(self._checkpoints)
            best = best_of({name: self._valid_rmse(name) for name in names})
            kept = {*names[-self._keep :], *([] if best is None else best[:1])}
            for name in names:
                if name not in kept:
                    _discard(self._checkpoints.child(str(name)))
        except OSError as error:
            logger.warning("could not remove old checkpoints of %s: %s", self._run_dir.url, error)

    def _valid_rmse(self, name: CheckpointName) -> float | None:
        try:
            return Checkpoint.open(self._checkpoints.child(str(name)), verify=False).valid_rmse
        except CheckpointError as error:
            if storage_failed(error):
                raise StorageError(str(error)) from error
            return None


def _write_tables(folder: Folder, tables: Mapping[str, TableRows]) -> dict[str, Any]:
    """Write this rank's rows of every table; returns the tables' specs with this rank's files."""
    specs = {}
    for table, rows in tables.items():
        tensors = {
            name: {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": [rows.num_rows, *tensor.shape[1:]]}
            for name, tensor in rows.tensors.items()
        }
        files = [_write_file(folder, table, rows, start, stop) for start, stop in _file_ranges(rows)]
        specs[table] = {
            "num_rows": rows.num_rows,
            "tensors": tensors,
            "files": [file.model_dump() for file in files],
        }
    return specs


def _file_ranges(rows: TableRows) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of global rows, each of about `FILE_BYTES` at most."""
    row_bytes = sum(tensor[:1].nbytes for tensor in rows.tensors.values())
    step = max(1, FILE_BYTES // max(1, row_bytes))
    for start in range(rows.start, rows.stop, step):
        yield start, min(start + step, rows.stop)


def _write_file(folder: Folder, table: str, rows: TableRows, start: int, stop: int) -> TableFile:
    # Copied, since safetensors refuses views that share memory.
    tensors = {
        name: tensor.detach()[start - rows.start : stop - rows.start].to("cpu", copy=True).contiguous()
        for name, tensor in rows.tensors.items()
    }
    for name, tensor in tensors.items():
        _require_finite(tensor, table, name, start)
    record = folder.write_bytes(table_file_name(table, start, stop), _serialized(tensors), rows=stop - start)
    return TableFile(**record.model_dump(), start=start, stop=stop)


def _serialized(tensors: dict[str, torch.Tensor]) -> bytes:
    """The bytes of a file. Raises an out-of-memory error if they do not fit."""
    size = sum(tensor.nbytes for tensor in tensors.values())
    # safetensors holds the bytes twice and aborts the process if memory runs out, so test the allocation first.
    room = [torch.empty(size + HEADER_BYTES, dtype=torch.uint8, device="cpu") for _ in range(2)]
    del room
    return to_safetensors(tensors)


def _require_finite(tensor: torch.Tensor, table: str, name: str, start: int) -> None:
    finite = torch.isfinite(tensor)
    if not finite.all():
        row = start + int((~finite).nonzero()[0, 0])
        raise TrainingError(f"{name} of {table} is not finite at row {row}: training diverged; nothing is saved")


def _join_tables(per_rank: list[dict[str, Any]]) -> dict[str, Any]:
    """The tables' specs with the files of all ranks, in row order. All ranks must describe the same tables."""
    shapes = [
        {table: {key: spec[key] for key in ("num_rows", "tensors")} for table, spec in tables.items()}
        for tables in per_rank
    ]
    for rank, theirs in enumerate(shapes):
        if theirs != shapes[0]:
            raise TrainingError(f"rank {rank} has other tables, dtypes or shapes than rank 0")
    files = {table: itertools.chain(*(tables[table]["files"] for tables in per_rank)) for table in shapes[0]}
    return {
        table: {**spec, "files": sorted(files[table], key=lambda file: int(file["start"]))}
        for table, spec in shapes[0].items()
    }


def _plain(values: Mapping[str, JsonValue], whose: str) -> dict[str, Any]:
    """The values as JSON reads them back. Raises if one is not finite, since JSON has no NaN."""
    try:
        tree: dict[str, Any] = json.loads(json.dumps(dict(values), allow_nan=False))
    except ValueError as error:
        raise TrainingError(f"a value of {whose} is not finite: {error}; nothing is saved") from None
    return tree


def _digest(values: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _commit(folder: Folder, manifest: CheckpointManifest) -> None:
    for file in manifest.files:
        folder.check_size(file)  # fails if the ranks do not share one storage
    data = manifest.to_bytes()
    folder.write_bytes(MANIFEST, data)
    folder.write_bytes(COMMITTED, committed_bytes(data))


def _discard_failed(folder: Folder) -> None:
    """Free the space of a failed save, unless this rank had already committed when a peer failed."""
    with contextlib.suppress(OSError):
        if not folder.exists(COMMITTED):
            folder.remove()


def _discard(folder: Folder) -> None:
    """Remove a checkpoint: first COMMITTED, then the rest."""
    folder.remove(COMMITTED)
    if folder.is_local and folder.exists():
        sync_folder(folder.local_path(""))
    folder.remove()
