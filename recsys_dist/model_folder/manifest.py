"""model.json: the manifest of a model, with the sha256 of every file."""

from __future__ import annotations

import hashlib
import json
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from recsys_dist.dataset.manifest import RatingStats, Shard
from recsys_dist.storage.folder import FileRecord
from recsys_dist.storage.holdings import OF_MODEL
from recsys_dist.strict_model import StrictModel

MODEL_FILE = OF_MODEL
WITHOUT_USERS = "without users"
"""In place of the digests of a dataset: the model is a copy that knows none of its users, nor how it was split."""


class Provenance(StrictModel):
    """Origin of the model."""

    dataset_digest: str
    split_fingerprint: str
    """Digest of the split into train, validation and test pairs."""
    recsys_dist: str


class ModelManifest(StrictModel):
    """The content of model.json."""

    format: Literal["recsys_dist.model"] = "recsys_dist.model"
    format_version: Literal[2] = 2
    kind: str
    """Name of the model family."""
    step: int = Field(ge=0)
    num_users: int = Field(ge=1)
    num_items: int = Field(ge=1)
    rating: RatingStats
    facts: dict[str, JsonValue]
    """What the family's scorer needs besides the tables."""
    user_shards: tuple[Shard, ...]
    config: dict[str, JsonValue]
    provenance: Provenance
    files: tuple[FileRecord, ...]

    @model_validator(mode="after")
    def _shards_cover_the_users(self) -> ModelManifest:
        stops = [shard.stop for shard in self.user_shards]
        if [shard.start for shard in self.user_shards] != [0, *stops[:-1]] or stops[-1:] != [self.num_users]:
            raise ValueError(f"user_shards do not cover the users 0 .. {self.num_users} in order")
        return self

    def to_bytes(self) -> bytes:
        """The manifest as written to disk; equal content gives equal bytes."""
        return (json.dumps(self.model_dump(mode="json"), indent=1, sort_keys=True) + "\n").encode()

    @property
    def contents_digest(self) -> str:
        """sha256 over the hashes of all files: identifies the model independently of where it was trained."""
        listing = "".join(f"{file.sha256} {file.name}\n" for file in sorted(self.files, key=lambda f: f.name))
        return hashlib.sha256(listing.encode()).hexdigest()


def ratings_name(shard: int) -> str:
    """File name of the train ratings of one user shard."""
    return f"ratings/{shard:05d}.safetensors"
