"""Reads a list of ids from a file: one id a line, or the column of that name in a table."""

from __future__ import annotations

import pyarrow as pa

from recsys_dist.errors import DataError
from recsys_dist.inference.tables.reading import BLOCK_BYTES, one_file, read_table, separator_of
from recsys_dist.preparation.inputs.kinds import check_beginning
from recsys_dist.preparation.inputs.sources import InputFile, first_bytes, read_blocks
from recsys_dist.preparation.parsing.layout import SAMPLE_BYTES, UTF8_BOM, split_names
from recsys_dist.preparation.parsing.lines import FINE, Lines
from recsys_dist.preparation.parsing.rejects import Reason


def read_ids(key: str, path: str, column: str) -> pa.StringArray:
    """The ids in the file at a path: of a Parquet file, or of text whose first line names `column`, those in it;
    of other text, each line that is not blank. `key` is the option, for errors.

    Raises `DataError` naming the file, and the line, if it cannot be read.
    """
    file = one_file(key, path)
    if file.format != "parquet" and not _has_header(file, column):
        return _lines(file)
    parts = [block.ids[column].dictionary_decode() for block in read_table(key, path, {key: column})]
    return pa.concat_arrays([pa.array([], pa.string()), *parts])


def _has_header(file: InputFile, column: str) -> bool:
    data = first_bytes(file, SAMPLE_BYTES)
    check_beginning(file, data)
    first_line = data.removeprefix(UTF8_BOM).split(b"\n", 1)[0].removesuffix(b"\r").decode("utf-8", "replace")
    return column in split_names(first_line, separator_of(file.name), '"')


def _lines(file: InputFile) -> pa.StringArray:
    texts: list[str] = []
    num_lines = 0
    for start, stop in file.blocks(BLOCK_BYTES):
        for data in read_blocks(file, start, stop, BLOCK_BYTES):
            lines = Lines.of(data, "utf-8", num_lines == 0)
            reasons = lines.refusals()
            wrong = (reasons != FINE).nonzero()[0]
            if len(wrong):
                line, label = int(wrong[0]), Reason(int(reasons[wrong[0]])).label
                raise DataError(f"{file.name} line {num_lines + line + 1}: {label}: {lines.text(line)!r}")
            num_lines += len(lines)
            texts += [text for text in lines.data.decode().split("\n") if text]
    return pa.array(texts, pa.string())
