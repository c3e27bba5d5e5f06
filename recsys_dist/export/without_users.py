"""A copy of a model folder that knows no user: everyone is folded in.

One unknown user without ratings stands for all, because a model folder has at least one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch

from recsys_dist.dataset.blocks import Block, write_block
from recsys_dist.dataset.manifest import Shard
from recsys_dist.errors import ConfigError
from recsys_dist.export.output import ExportWriter
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.manifest import MODEL_FILE, WITHOUT_USERS, ModelManifest, ratings_name
from recsys_dist.protocols.registry import known_family

USERS_FILE, NOBODY = "users.parquet", "nobody"


def write_without_users(folder: ModelFolder, out: ExportWriter) -> ModelManifest:
    """Write the copy; returns its manifest.

    Raises `ConfigError` if the family does not know its tables of users.
    """
    manifest = folder.manifest
    tables = known_family(manifest.kind, of=folder.folder.url).tables_of_users(folder)
    if tables is None:
        raise ConfigError(
            f"{folder.folder.url} cannot be written without users: the family {manifest.kind} does not say which "
            "tables know users; implement `tables_of_users`"
        )
    of_users = {USERS_FILE, *(ratings_name(shard) for shard in range(len(manifest.user_shards)))}
    for record in manifest.files:
        if record.name not in of_users and record.name.rpartition("/")[0] not in tables:
            out.copy(folder.folder, record, record.name)
    for name in sorted(tables):
        if folder.has_table(name):
            _write_table(folder, name, out)
    with out.parquet(USERS_FILE, pa.schema([("user_id", pa.string()), ("num_train", pa.int64())])) as append:
        append({"user_id": pa.array([NOBODY]), "num_train": pa.array([0], pa.int64())})
    nothing = Block(0, np.zeros(2, np.int64), np.empty(0, np.int32), np.empty(0, np.float32))
    out.files.append(write_block(out.folder, ratings_name(0), nothing))
    changes: dict[str, Any] = {
        "num_users": 1,
        "user_shards": (Shard(start=0, stop=1, num_ratings=0),),
        "files": tuple(out.files),
        "config": _of_model(manifest.config),
        "provenance": manifest.provenance.model_copy(
            update={"dataset_digest": WITHOUT_USERS, "split_fingerprint": WITHOUT_USERS}
        ),
        "facts": _without_places(manifest.facts),
    }
    copy = manifest.model_copy(update=changes)
    out.write(MODEL_FILE, copy.to_bytes())
    return copy


def _of_model(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of the model alone: others name the folders of its training."""
    return {name: value for name, value in config.items() if name == "model"}


def _without_places(facts: Any) -> Any:
    """Facts, with the settings of the models inside this one cut down too."""
    if isinstance(facts, list):
        return [_without_places(one) for one in facts]
    if not isinstance(facts, dict):
        return facts
    return {name: _of_model(one) if name == "config" else _without_places(one) for name, one in facts.items()}


def _write_table(folder: ModelFolder, name: str, out: ExportWriter) -> None:
    """The row for unknown users, for nobody too; zeros if the table has no such row."""
    table = folder.table(name)
    num_users = folder.num_rows("users")
    has_unknown = table.num_rows > num_users
    last = table.take(torch.tensor([table.num_rows - 1], device="cpu"))
    with out.table(name) as rows:
        for _ in range(2 if has_unknown else 1):
            rows.append(last if has_unknown else {key: torch.zeros_like(value) for key, value in last.items()})
