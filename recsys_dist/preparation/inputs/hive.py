"""Partition columns from folder names, as Hive and Spark write them: `year=2020/country=NL/part-0.csv`.

Keys and values are percent-decoded; Hive's name for null becomes an empty text. A column of the same name in the
file takes precedence; of repeated keys, the folder nearest to the file wins.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
import pyarrow as pa

from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.settings.input import Column

NULL = "__HIVE_DEFAULT_PARTITION__"


def folder_values(file: InputFile) -> dict[str, bytes]:
    """The value of each key on the path of a file; bytes, as they may not be valid UTF-8."""
    paths = (posixpath.normpath(posixpath.dirname(path)) for path in (file.url, file.member or ""))
    pairs = (folder.partition("=") for path in paths for folder in path.split("/"))
    return {unquote(key): _value(value) for key, sign, value in pairs if key and sign}


def wanted_values(file: InputFile, wanted: Mapping[str, Column], in_file: Collection[str]) -> dict[str, bytes]:
    """The values of the fields in `wanted` whose column is a folder key and not a column of the file."""
    values = folder_values(file)
    named = {field: column for field, column in wanted.items() if isinstance(column, str)}
    return {field: values[key] for field, key in named.items() if key in values and key not in in_file}


def repeated(value: bytes, num_rows: int) -> pa.DictionaryArray:
    """A text column with the same value in all rows."""
    texts = pa.array([value], pa.binary()).view(pa.string())
    return pa.DictionaryArray.from_arrays(np.zeros(num_rows, np.int32), texts)


def _value(text: str) -> bytes:
    return b"" if text == NULL else unquote_to_bytes(text)
