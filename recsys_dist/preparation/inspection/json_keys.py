"""The keys in a sample of JSON Lines, as columns of text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.parsing.json_lines.layout import first_objects
from recsys_dist.preparation.parsing.json_lines.objects import find, keys_of
from recsys_dist.preparation.parsing.rejects import Reason

MAX_KEYS = 200
"""Keys that are examined; objects that map ids to values may have any number."""


@dataclass(frozen=True)
class KeyTexts:
    """The first keys by name, dotted within objects, with their values as text."""

    columns: list[tuple[str, pa.StringArray]]
    num_keys: int
    """Number of all keys."""


def key_texts(file: InputFile, lines: Sequence[str]) -> KeyTexts:
    """The keys of the lines that are objects. Raises `DataError` naming the file if there is none."""
    objects = first_objects(file, lines)
    paths = list(dict.fromkeys(path for one in objects for path in keys_of(one)))
    columns = [
        (".".join(path), pa.array([_shown(find(one, path)) for one in objects], pa.string()))
        for path in paths[:MAX_KEYS]
    ]
    return KeyTexts(columns, len(paths))


def _shown(value: Any) -> str:
    if value is None or isinstance(value, Reason):
        return ""
    text = str(value) if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", errors="replace").decode()
