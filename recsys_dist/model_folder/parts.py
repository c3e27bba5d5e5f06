"""Models inside another model: a model folder may hold the tables of several models on the same users and items.

    MODEL_DIR/part0/TABLE/00000.safetensors ...      the tables of the first model, below its own prefix

Ids, titles and train ratings are those of the folder around them, once.
"""

from __future__ import annotations

from pydantic import Field, JsonValue

from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.manifest import MODEL_FILE, ratings_name
from recsys_dist.model_folder.writer import ModelWriter
from recsys_dist.strict_model import StrictModel


class Part(StrictModel):
    """What model.json of the whole records of one model inside it."""

    kind: str
    """Name of its family."""
    step: int = Field(ge=0)
    facts: dict[str, JsonValue]
    config: dict[str, JsonValue]
    digest: str
    """Contents digest of the model folder that it was copied from."""


def part_of(folder: ModelFolder) -> Part:
    """The record of a model that becomes a part."""
    manifest = folder.manifest
    return Part(
        kind=manifest.kind,
        step=manifest.step,
        facts=manifest.facts,
        config=manifest.config,
        digest=manifest.contents_digest,
    )


def in_part(number: int, name: str) -> str:
    """The name of a table or file of part `number` in the folder around it."""
    return f"part{number}/{name}"


def copy_part(source: ModelFolder, number: int, out: ModelWriter) -> None:
    """Copy the tables of a model as part `number`."""
    for record in source.manifest.files:
        if record.name not in _shared_files(source):
            out.copy(source.folder, record, in_part(number, record.name))


def copy_shared(source: ModelFolder, out: ModelWriter) -> None:
    """Copy the ids, titles and train ratings, which all parts share."""
    for record in source.manifest.files:
        if record.name in _shared_files(source):
            out.copy(source.folder, record, record.name)


def open_part(folder: ModelFolder, number: int, part: Part) -> ModelFolder:
    """Part `number` as a model folder of its own family."""
    changes = {"kind": part.kind, "step": part.step, "facts": part.facts, "config": part.config}
    return ModelFolder(folder.folder, folder.manifest.model_copy(update=changes), in_part(number, ""))


def _shared_files(folder: ModelFolder) -> set[str]:
    ratings = {ratings_name(shard) for shard in range(len(folder.manifest.user_shards))}
    return {"users.parquet", "items.parquet", MODEL_FILE, *ratings}
