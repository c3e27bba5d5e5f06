"""Identity of a preparation: its input files, its settings and the library versions that affect the result.

    OUTPUT/preparing/KEY/attempt.json    the identity, kept while the preparation runs; KEY is its hash
    OUTPUT/preparing/KEY/scratch/        intermediate arrays, and which tasks are done
    OUTPUT/preparing/KEY/dataset/        the files of the new dataset, its manifest last

An interrupted preparation resumes when another one with the same key finds its folder.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, JsonValue

from recsys_dist.preparation.arrays import scratch
from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.version import __version__

ATTEMPT = "attempt.json"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
KEY_DIGITS = 16
NOT_DECIDING = {"cluster", "output", "overwrite"}
"""Settings that do not affect the dataset."""


class Attempt(BaseModel):
    """The content of attempt.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, JsonValue]
    versions: dict[str, str]
    inputs: dict[str, str]
    """The identity of each input file by its name."""
    base: str | None = None
    """Digest of the dataset that the input is appended to."""
    machine: str
    """Host name and boot id: after a crash of the machine, data not yet flushed to disk is lost."""

    @classmethod
    def of(cls, config: PrepareConfig, files: Sequence[InputFile], base: str | None = None) -> Attempt:
        """The identity of a new preparation of `files`, appended to the dataset with digest `base` if given."""
        return cls(
            settings=config.model_dump(mode="json", exclude=NOT_DECIDING),
            versions={
                "recsys_dist": __version__,
                "scratch": str(scratch.FORMAT),
                "numpy": np.__version__,
                "pyarrow": pa.__version__,
            },
            inputs={file.name: file.identity for file in files},
            base=base,
            machine=f"{platform.node()} {_boot_id()}",
        )

    @property
    def key(self) -> str:
        """A hash of everything that affects the dataset."""
        deciding = self.model_dump(mode="json", exclude={"machine"})
        text = json.dumps(deciding, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]

    def to_bytes(self) -> bytes:
        """The content of attempt.json."""
        return self.model_dump_json(indent=1).encode()

    def duplicates(self, other: Attempt) -> bool:
        """Whether both have the same input, settings and versions, regardless of the dataset they append to."""
        apart = {"machine", "base"}
        return self.model_dump(exclude=apart) == other.model_dump(exclude=apart)

    def outlives(self, other: Attempt) -> bool:
        """Whether this machine has rebooted since `other` started on it."""
        name, boot = self.machine.split(" ")
        return other.machine != self.machine and other.machine.split(" ")[0] == name and boot != ""

    def changed_input(self, other: Attempt) -> str | None:
        """The first input file that has changed between the two."""
        both = self.inputs.keys() & other.inputs.keys()
        return min((name for name in both if self.inputs[name] != other.inputs[name]), default=None)


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
