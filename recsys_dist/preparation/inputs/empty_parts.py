"""Skips and counts empty part files. Spark writes one for each task without rows.

In: the input files. Out: the files to read, and the empty parts. A file that is named explicitly is read even if
empty, so that the user gets an error.
"""

from __future__ import annotations

import codecs
import logging
from collections.abc import Sequence

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.sources import InputFile, first_bytes

SMALL_BYTES = 1 << 10
"""Larger files are assumed not to be empty."""
logger = logging.getLogger(__name__)


def set_aside_empty(key: str, files: Sequence[InputFile]) -> tuple[list[InputFile], list[InputFile]]:
    """Separate the files to read from the empty parts.

    Raises `DataError` with the settings' `key` if all files are empty parts.
    """
    kept: list[InputFile] = []
    empty: list[InputFile] = []
    for file in files:
        (empty if file.is_part and _is_empty(file) else kept).append(file)
    if empty and not kept:
        raise DataError(f"{key}: {_count(empty, files)} empty; the first is {empty[0].name}")
    return kept, empty


def without_empty(key: str, files: Sequence[InputFile]) -> list[InputFile]:
    """Drop the empty parts and log their number."""
    kept, empty = set_aside_empty(key, files)
    if empty:
        logger.warning("%s: %s empty and skipped; the first is %s", key, _count(empty, files), empty[0].name)
    return kept


def _is_empty(file: InputFile) -> bool:
    """Whether a file, once unpacked, has no bytes or, as text, only blanks and line ends."""
    if file.num_bytes == 0 or file.num_bytes > SMALL_BYTES or file.format == "parquet":
        return file.num_bytes == 0
    return not first_bytes(file, SMALL_BYTES).removeprefix(codecs.BOM_UTF8).strip()


def _count(empty: Sequence[InputFile], files: Sequence[InputFile]) -> str:
    are = "is" if len(empty) == 1 else "are"
    return f"{len(empty):,} of {len(files):,} files {are}"
