"""What a preparation works on: its input as found, its settings, and the programs that decide what comes of them.

    OUTPUT/preparing/KEY/attempt.json    this, kept while the preparation lasts; KEY is a hash of what decides
    OUTPUT/preparing/KEY/scratch/        what passes between the stages, and which tasks are done
    OUTPUT/preparing/KEY/dataset/        the files of the new dataset, its manifest last

A preparation that was broken off goes on where another with the same key finds its folder.
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
"""The settings that change nothing in the dataset."""


class Attempt(BaseModel):
    """The content of attempt.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    settings: dict[str, JsonValue]
    versions: dict[str, str]
    inputs: dict[str, str]
    """The identity of each input file by its name."""
    base: str | None = None
    """The digest of the dataset that the input is added to."""
    machine: str
    """This machine and its start: what it had not yet written to disk when it went down is lost."""

    @classmethod
    def of(cls, config: PrepareConfig, files: Sequence[InputFile], base: str | None = None) -> Attempt:
        """A preparation that begins now; `files` are all that it reads, `base` the digest of what it adds to."""
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
        """A hash of all that decides what is prepared."""
        deciding = self.model_dump(mode="json", exclude={"machine"})
        text = json.dumps(deciding, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]

    def to_bytes(self) -> bytes:
        """The content of the file."""
        return self.model_dump_json(indent=1).encode()

    def duplicates(self, other: Attempt) -> bool:
        """Whether both make the same of the same input, whatever dataset they add it to."""
        apart = {"machine", "base"}
        return self.model_dump(exclude=apart) == other.model_dump(exclude=apart)

    def outlives(self, other: Attempt) -> bool:
        """Whether this machine has been started anew since it began `other`."""
        name, boot = self.machine.split(" ")
        return other.machine != self.machine and other.machine.split(" ")[0] == name and boot != ""

    def changed_input(self, other: Attempt) -> str | None:
        """The first file that both read, but not with the same content."""
        both = self.inputs.keys() & other.inputs.keys()
        return min((name for name in both if self.inputs[name] != other.inputs[name]), default=None)


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""
