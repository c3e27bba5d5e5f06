"""Compares the other files of an input with the one that the proposed settings come from.

In: files and settings. Out: why a file cannot be read with these settings, and how its columns and rows differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.sources import InputFile, first_bytes
from recsys_dist.preparation.parsing.json_lines.layout import read_json_layout
from recsys_dist.preparation.parsing.layout import read_layout, split_names
from recsys_dist.preparation.parsing.parquet import open_parquet, rating_columns
from recsys_dist.preparation.parsing.rows import parse_text
from recsys_dist.preparation.settings.input import InputSettings
from recsys_dist.preparation.settings.prepare import RatingRules

MAX_COMPARED = 50
"""Maximum number of files compared, spread evenly over all files."""
HEAD_BYTES = 1 << 16


@dataclass(frozen=True)
class Part:
    """The result of comparing the beginning of another file."""

    file: InputFile
    misfit: str | None
    """Why it cannot be read with the settings."""
    names: tuple[str, ...] = ()
    """The names of its columns; empty without a header."""
    unlike: str | None = None
    """Why its first rows cannot be used."""


def compare(files: Sequence[InputFile], sniffed: InputFile, settings: InputSettings) -> Iterator[Part]:
    """Compare the beginnings of the other files."""
    others = [file for file in files if (file.url, file.member) != (sniffed.url, sniffed.member)]
    for other in others[:: -(-len(others) // MAX_COMPARED) or 1]:
        # The proposal names the format, so that names do not decide between text and JSON.
        is_parquet = other.format == "parquet"
        file = other if is_parquet else replace(other, format=sniffed.format)
        if is_parquet != (sniffed.format == "parquet"):
            yield Part(other, f"{other.name} has a different format")
            continue
        try:
            yield _part_of_parquet(file, settings) if file.format == "parquet" else _part_of_text(file, settings)
        except DataError as error:
            yield Part(file, str(error))


def disagreements(parts: Sequence[Part], sniffed: InputFile, names: tuple[str, ...]) -> Iterator[str]:
    """Describe how readable files differ from the sampled one, whose columns are `names`."""
    other = [part for part in parts if part.names != names]
    if other:
        instead = f"{_shown(other[0].names)} instead of {_shown(names)}"
        yield f"{_files(other)} different columns from {sniffed.name}: {instead}"
    unlike = [part for part in parts if part.unlike is not None]
    if unlike:
        yield f"{_files(unlike)} unusable rows at the beginning: {unlike[0].unlike}"


def _part_of_parquet(file: InputFile, settings: InputSettings) -> Part:
    with open_parquet(file) as parquet:
        rating_columns(file, parquet, settings.columns)
        return Part(file, None, tuple(parquet.schema_arrow.names))


def _part_of_text(file: InputFile, settings: InputSettings) -> Part:
    read = read_json_layout if file.format == "json" else read_layout
    layout = read(file, settings, dict(settings.columns), "input")
    head = first_bytes(file, HEAD_BYTES)
    head = head if len(head) < HEAD_BYTES else head[: head.rfind(b"\n") + 1]
    parsed = parse_text(head, layout, RatingRules(), True, None, settings.timestamp_format)
    first = parsed.rejects.first()
    is_unlike = first is not None and (first[0] == 1 or len(parsed.rows) == 0)
    unlike = f"line {first[0]}: {first[1]}: {first[2]!r}" if first is not None and is_unlike else None
    names = () if file.format == "json" else _header(head, settings)
    return Part(file, None, names, unlike)


def _header(head: bytes, settings: InputSettings) -> tuple[str, ...]:
    if not settings.header:
        return ()
    line = head.decode(settings.encoding, errors="replace").lstrip("\ufeff").split("\n", 1)[0].removesuffix("\r")
    return tuple(split_names(line, settings.separator, settings.quote_sign, settings.escape, settings.field_limit))


def _files(parts: Sequence[Part]) -> str:
    has = "has" if len(parts) == 1 else f"and {len(parts) - 1:,} more have"
    return f"{parts[0].file.name} {has}"


def _shown(names: tuple[str, ...]) -> str:
    return ", ".join(names)[:200]
