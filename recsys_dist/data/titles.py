"""The titles of items, from files beside the ratings."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys_dist.data.config import ItemsSettings
from recsys_dist.data.layout import read_layout
from recsys_dist.data.lines import Lines, cut_fields
from recsys_dist.data.rejects import Reason
from recsys_dist.data.sources import InputFile, find_files, open_file, read_blocks
from recsys_dist.errors import DataError

BLOCK_BYTES = 32 << 20


def find_titles(settings: ItemsSettings | None, item_ids: pa.LargeStringArray) -> pa.Array:
    """The title of each item id, null where no file tells it. Of several titles of one id the first counts.

    Raises `DataError` naming file and line where a line cannot be read.
    """
    files = find_files("items.paths", settings.paths, settings.format) if settings is not None else []
    if settings is None or not files:
        return pa.nulls(len(item_ids), pa.string())
    tables = [_read_titles(file, settings) for file in files]
    known = pa.concat_tables(tables).combine_chunks()
    # index_in gives the first place of each id.
    return known["title"].combine_chunks().take(pc.index_in(item_ids, value_set=known["item"].combine_chunks()))


def _read_titles(file: InputFile, settings: ItemsSettings) -> pa.Table:
    columns = {"item": settings.columns.item, "title": settings.columns.title}
    if file.format == "parquet":
        return _read_parquet(file, {name: str(column) for name, column in columns.items()})
    layout = read_layout(file, settings, columns, "items")
    parts, first_line = [], 1
    for number, data in enumerate(_blocks(file)):
        lines = Lines.of(data, layout.encoding, is_first=number == 0)
        fields = cut_fields(lines, layout, is_first=number == 0)
        if len(fields.refused):
            line, reason = int(fields.refused[0]), Reason(int(fields.refused_for[0]))
            raise DataError(f"{file.name} line {first_line + line}: {reason.label}: {lines.text(line)!r}")
        parts.append(pa.table({name: _plain(fields.columns[name]) for name in columns}))
        first_line += len(lines)
    return pa.concat_tables(parts)


def _blocks(file: InputFile) -> Iterator[bytes]:
    for start, stop in file.blocks(BLOCK_BYTES):
        yield from read_blocks(file, start, stop, BLOCK_BYTES)


def _plain(column: pa.DictionaryArray) -> pa.Array:
    texts = column.dictionary_decode()
    return pc.cast(texts, pa.large_string())


def _read_parquet(file: InputFile, columns: dict[str, str]) -> pa.Table:
    with open_file(file) as stream:
        try:
            table = pq.read_table(stream, columns=list(columns.values()))
            found = {name: pc.cast(table[column], pa.large_string()) for name, column in columns.items()}
        except (pa.ArrowException, KeyError) as error:
            raise DataError(f"items.paths: {file.name} cannot be used: {' '.join(str(error).split())}") from error
    return pa.table(found)
