"""model.json: what a model is, and every file of it with its sha256."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from recsys_dist.dataset.manifest import RatingStats, Shard
from recsys_dist.storage.folder import FileRecord
from recsys_dist.strict_model import StrictModel

MODEL_FILE = "model.json"


class Provenance(StrictModel):
    """Where the model comes from."""

    dataset_digest: str
    split_fingerprint: str
    """Which pairs were for training and which not."""
    recsys_dist: str


class ModelManifest(StrictModel):
    """The content of model.json."""

    format: Literal["recsys_dist.model"] = "recsys_dist.model"
    format_version: Literal[2] = 2
    kind: str
    """The name of its family."""
    step: int = Field(ge=0)
    num_users: int = Field(ge=1)
    num_items: int = Field(ge=1)
    rating: RatingStats
    facts: dict[str, JsonValue]
    """What the scorer of its family needs beside the tables."""
    user_shards: tuple[Shard, ...]
    config: dict[str, JsonValue]
    provenance: Provenance
    files: tuple[FileRecord, ...]

    @model_validator(mode="after")
    def _shards_cover_the_users(self) -> ModelManifest:
        stops = [shard.stop for shard in self.user_shards]
        if [shard.start for shard in self.user_shards] != [0, *stops[:-1]] or stops[-1:] != [self.num_users]:
            raise ValueError(f"user_shards do not cover the users 0 .. {self.num_users} one after the other")
        return self

    def to_bytes(self) -> bytes:
        """The manifest as it stands on disk; the same content gives the same bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    @property
    def contents_digest(self) -> str:
        """sha256 over the hashes of all files: the identity of the model, wherever and however it was trained."""
        listing = "".join(f"{file.sha256} {file.name}\n" for file in sorted(self.files, key=lambda f: f.name))
        return hashlib.sha256(listing.encode()).hexdigest()


def ratings_name(shard: int) -> str:
    """Name of the train ratings of one user shard."""
    return f"ratings/{shard:05d}.safetensors"
