"""The checkpoints of one run: saved by all ranks together, found, and purged.

In: each rank's rows of a `TrainerState`. Out: RUN_DIR/checkpoints/step-.../ (see manifest.py). A later run trusts
a checkpoint only if it contains COMMITTED. That file is written last and removed first, so a kill at any moment
leaves either a complete checkpoint or one without it.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

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
    build_manifest,
    committed_bytes,
)
from recsys_dist.checkpoint.snapshot import Snapshot, plain
from recsys_dist.checkpoint.state import TrainerState
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import CheckpointError, RecsysDistError, StorageError, TrainingError
from recsys_dist.storage.folder import Folder, sync_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint that is being written: its folder is there, COMMITTED is not."""

    name: CheckpointName
    folder: Folder
    snapshot: Snapshot
    details: Mapping[str, JsonValue]
    doing: str
    """What to call the save in an error."""

    def write(self, is_given_up: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        """Write this rank's files, in any thread: see `Snapshot.write`."""
        return self.snapshot.write(self.folder, is_given_up)

    def manifest(self, tables: list[dict[str, Any]]) -> CheckpointManifest:
        """The manifest of all ranks' files, given what `write` returned on each."""
        tree = {
            "step": self.name.step,
            "part": self.name.part,
            "tables": _join_tables(tables),
            "values": self.snapshot.values,
            "details": plain(self.details, "the details"),
        }
        try:
            return build_manifest(tree, f"{self.folder.url}/{MANIFEST}")
        except CheckpointError as error:
            raise TrainingError(f"{self.doing} failed: {error}") from error


class CheckpointStore:
    """Saves, finds and purges the checkpoints below `folder` (RUN_DIR). Its methods are collective."""

    def __init__(self, folder: Folder, collectives: Collectives, keep: int) -> None:
        self._run_dir = folder
        self._checkpoints = folder.child(CHECKPOINTS)
        self._collectives = collectives
        self._keep = keep
        self._damaged: set[CheckpointName] = set()
        self._unfinished: set[CheckpointName] = set()
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
        opened = self.begin(lambda: Snapshot.of(state), step, details, whole_epoch)
        self.finish(opened, opened.write)
        return opened.name

    def begin(
        self,
        take: Callable[[], Snapshot],
        step: int,
        details: Mapping[str, JsonValue],
        whole_epoch: bool = True,
    ) -> OpenCheckpoint:
        """Take this rank's share and make the folder of a new checkpoint, whose files come next.

        Arguments and errors as for `save`. Several checkpoints can be open, and are finished in any order.
        """
        doing = f"saving the checkpoint of step {step}"
        snapshot = self._collectives.together(doing, take)
        self._collectives.require_same({"the values of the trainer state": snapshot.digest()})
        name = CheckpointName(*self._on_first(doing, lambda: self._make_folder(step, whole_epoch)))
        self._unfinished.add(name)
        return OpenCheckpoint(name, self._checkpoints.child(str(name)).expect(), snapshot, details, doing)

    def finish(self, opened: OpenCheckpoint, written: Callable[[], dict[str, Any]]) -> None:
        """Commit an open checkpoint, then purge old ones.

        `written` returns what `OpenCheckpoint.write` did on this rank, or raises its error. Raises `TrainingError`
        on every rank if it fails on any, and removes the files.
        """
        try:
            tables = self._collectives.gather_json(self._collectives.together(opened.doing, written))
            manifest = opened.manifest(tables)
            self._on_first(opened.doing, lambda: _commit(opened.folder, manifest))
        except RecsysDistError:
            self.discard(opened)
            raise
        self._unfinished.discard(opened.name)
        if self._collectives.world.is_first:
            self._purge()

    def discard(self, opened: OpenCheckpoint) -> None:
        """Free the space of a failed save; not collective."""
        self._unfinished.discard(opened.name)
        if self._collectives.world.is_first:
            _discard_failed(opened.folder)

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

    def _make_folder(self, step: int, whole_epoch: bool) -> CheckpointName:
        """Remove incomplete and damaged checkpoints, and create the folder of a new one."""
        there = {name: text for text in self._checkpoints.names() if (name := CheckpointName.parse(text))}
        sound = set(committed_names(self._checkpoints)) - self._damaged
        for name in there.keys() - sound - self._unfinished:
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
