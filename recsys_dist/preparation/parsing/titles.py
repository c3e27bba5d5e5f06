"""Reads item titles from separate files. Lines that cannot be read are counted and skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_dist.preparation.inputs.empty_parts import without_empty
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.sources import InputFile, read_blocks
from recsys_dist.preparation.parsing.fields import Fields, cut_fields
from recsys_dist.preparation.parsing.json_lines.columns import cut_objects
from recsys_dist.preparation.parsing.json_lines.layout import read_json_layout
from recsys_dist.preparation.parsing.layout import read_layout
from recsys_dist.preparation.parsing.lines import FINE, Lines
from recsys_dist.preparation.parsing.parquet_titles import read_title_rows
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.input import Column, ItemsSettings

BLOCK_BYTES = 32 << 20


def find_titles_files(settings: ItemsSettings | None) -> list[InputFile]:
    """The files with titles; empty if none are named."""
    if settings is None:
        return []
    return without_empty("items.paths", find_files("items.paths", settings.paths, settings))


@dataclass(frozen=True)
class Titles:
    """The content of the titles files."""

    table: pa.Table
    """Columns `item` and `title`, in the order of the files."""
    num_unusable: int
    """Number of lines or Parquet rows that cannot be read."""
    first_unusable: str | None
    """Location and reason of the first of them."""

    @classmethod
    def joined(cls, parts: Sequence[Titles]) -> Titles:
        """Concatenate the titles of several files or blocks."""
        tables = pa.concat_tables([part.table for part in parts]).combine_chunks()
        first = next((part.first_unusable for part in parts if part.first_unusable is not None), None)
        return cls(tables, sum(part.num_unusable for part in parts), first)


def read_titles(files: Sequence[InputFile], settings: ItemsSettings | None) -> Titles | None:
    """All titles in the files; None if there is no file.

    Raises `DataError` naming a file that is empty or lacks a column.
    """
    if settings is None or not files:
        return None
    return Titles.joined([_read_file(file, settings) for file in files])


def find_titles(known: pa.Table | None, item_ids: pa.LargeStringArray) -> pa.Array:
    """The title of each item id, null if unknown. If an id has several titles, the first is used."""
    if known is None:
        return pa.nulls(len(item_ids), pa.string())
    # index_in returns the first position of each id.
    return known["title"].combine_chunks().take(pc.index_in(item_ids, value_set=known["item"].combine_chunks()))


def _read_file(file: InputFile, settings: ItemsSettings) -> Titles:
    columns = {"item": settings.columns.item, "title": settings.columns.title}
    if file.format == "parquet":
        return _read_parquet(file, columns)
    cut = _cutter(file, settings, columns)
    parts, first_line = [], 1
    for number, data in enumerate(_blocks(file)):
        lines = Lines.of(data, settings.encoding, is_first=number == 0)
        fields = cut(lines, number == 0)
        first = None
        if len(fields.refused):
            line, reason = int(fields.refused[0]), Reason(int(fields.refused_for[0])).label
            first = f"{file.name} line {first_line + line}: {reason}: {lines.text(line)!r}"
        table = pa.table({name: _plain(fields.columns[name]) for name in columns})
        parts.append(Titles(table, len(fields.refused), first))
        first_line += len(lines)
    return Titles.joined(parts)


def _cutter(
    file: InputFile, settings: ItemsSettings, columns: Mapping[str, Column]
) -> Callable[[Lines, bool], Fields]:
    """The function that reads the fields of a block, given whether it begins the file."""
    if file.format == "json":
        layout = read_json_layout(file, settings, columns, "items")
        return lambda lines, _: cut_objects(lines, layout)
    text_layout = read_layout(file, settings, columns, "items")
    return lambda lines, is_first: cut_fields(lines, text_layout, is_first)


def _blocks(file: InputFile) -> Iterator[bytes]:
    for start, stop in file.blocks(BLOCK_BYTES):
        yield from read_blocks(file, start, stop, BLOCK_BYTES)


def _plain(column: pa.DictionaryArray) -> pa.Array:
    texts = column.dictionary_decode()
    return pc.cast(texts, pa.large_string())


def _read_parquet(file: InputFile, columns: Mapping[str, Column]) -> Titles:
    table, unfit = read_title_rows(file, columns, "items")
    bad = np.flatnonzero(unfit != FINE)
    first = f"{file.name} row {bad[0] + 1}: {Reason(int(unfit[bad[0]])).label}" if len(bad) else None
    return Titles(table.filter(pa.array(unfit == FINE)), len(bad), first)
