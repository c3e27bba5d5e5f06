"""What an unknown input seems to hold, and which settings would read it: proposed from a sample, never decided.

In: a path, a folder, an archive, a glob or a URL. Out: facts about the largest of its files, a guess at the role
of each column, what the parser makes of the sample by that guess, and the settings to begin with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from recsys_dist.config import parse_settings
from recsys_dist.data.column_facts import ColumnFacts
from recsys_dist.data.column_roles import Role, guess_roles
from recsys_dist.data.find import find_files
from recsys_dist.data.input_config import FileSettings, InputSettings
from recsys_dist.data.layout import read_layout
from recsys_dist.data.sources import InputFile
from recsys_dist.data.table_sample import ParquetTable, ParsedSample, TextTable, read_table
from recsys_dist.data.text_shape import GOOD_SHARE
from recsys_dist.data.time_columns import doubts_of_size, doubts_of_unused
from recsys_dist.errors import DataError

MAX_COMPARED = 50
"""So many other files are held against the proposal."""
MAX_REJECTED = 0.01
"""The fraction of unusable rows above which the proposed settings stop a preparation."""


@dataclass(frozen=True)
class Sniffed:
    """What was found, and the proposal."""

    table: TextTable | ParquetTable
    num_files: int
    roles: dict[str, Role]
    missing: tuple[str, ...]
    """Fields that every rating needs and that no column was found for."""
    tree: dict[str, Any]
    """The keys of `input`, without the columns that are missing."""
    parsed: ParsedSample | None
    """None where a field is missing, or the file cannot be read by the proposal."""
    remarks: tuple[str, ...]

    @property
    def columns(self) -> tuple[ColumnFacts, ...]:
        """The columns of the file."""
        return self.table.columns


def sniff(key: str, pattern: str) -> Sniffed:
    """Look at the largest file that `pattern` stands for.

    Raises `DataError`, which begins with `key` where there is no such file, and else names what cannot be read.
    """
    files = find_files(key, [pattern], FileSettings())
    table = read_table(max(files, key=lambda file: file.num_bytes))
    fields = _fields(table)
    roles = guess_roles(table.columns, fields)
    missing = tuple(field for field in fields if field not in roles and field != "timestamp")
    tree, remarks = _tree(pattern, table, roles), tuple(_doubts(table, roles))
    if missing:
        return Sniffed(table, len(files), roles, missing, tree, None, remarks)
    settings = parse_settings(InputSettings, tree, source=table.file.name)
    for stranger in islice(_strangers(files, table.file, settings), 1):
        tree |= {"paths": table.file.name}
        remarks += (f"only {table.file.name} is proposed, as another file is not like it: {stranger}",)
    parsed, problem = _parse(table, settings)
    return Sniffed(table, len(files), roles, missing, tree, parsed, remarks + problem)


def _fields(table: TextTable | ParquetTable) -> tuple[str, ...]:
    has_item_lines = table.shape is not None and table.shape.has_item_lines
    return ("user", "rating", "timestamp") if has_item_lines else ("user", "item", "rating", "timestamp")


def _tree(pattern: str, table: TextTable | ParquetTable, roles: dict[str, Role]) -> dict[str, Any]:
    tree: dict[str, Any] = {"paths": pattern, "format": table.file.format}
    if table.shape is not None:
        shape = table.shape
        tree |= {"separator": shape.separator, "quote": shape.quote, "header": shape.header is not None}
        if shape.escape is not None:
            tree["escape"] = shape.escape
        tree |= {"encoding": shape.encoding, "layout": "netflix" if shape.has_item_lines else "plain"}
    tree["columns"] = {field: roles[field].column.reference for field in _fields(table) if field in roles}
    has_dates = "timestamp" in roles and roles["timestamp"].column.kind == "dates"
    return tree | {"timestamp_format": "iso" if has_dates else "number"}


def _strangers(files: Sequence[InputFile], sniffed: InputFile, settings: InputSettings) -> Iterator[str]:
    """Why other files cannot be read by the same settings, as their beginnings tell."""
    for file in [file for file in files if file != sniffed][:MAX_COMPARED]:
        if file.format != sniffed.format:
            yield f"{file.name} is of another format"
        elif file.format == "csv":
            try:
                read_layout(file, settings, dict(settings.columns), "input")
            except DataError as error:
                yield str(error)


def _parse(
    table: TextTable | ParquetTable, settings: InputSettings
) -> tuple[ParsedSample | None, tuple[str, ...]]:
    """What the parser makes of the sample, and what is wrong with that."""
    try:
        parsed = table.parse(settings)
    except DataError as error:
        return None, (f"the file is not readable as proposed: {error}",)
    if parsed.num_read == 0:
        return parsed, ("the sample holds no rows",)
    if parsed.num_good == 0:
        return parsed, ("no row of the sample can be used as proposed",)
    share = parsed.refused.total() / parsed.num_read
    if share > MAX_REJECTED:
        return parsed, (f"{share:.1%} of the rows cannot be used, more than the proposed ratings.max_rejected",)
    return parsed, ()


def _doubts(table: TextTable | ParquetTable, roles: dict[str, Role]) -> Iterator[str]:
    shape = table.shape
    if shape is not None and not shape.is_encoding_sure:
        yield "the encoding is a guess: the file is not UTF-8, and every file is valid latin-1"
    if shape is not None and shape.share < GOOD_SHARE:
        yield f"the separator is a guess: {shape.share:.1%} of the lines have {shape.num_fields} fields by it"
    if shape is not None and shape.quote is not None and shape.num_misquoted:
        yield (
            f"{shape.num_misquoted:,} of the lines looked at have a quote inside a field or text behind a closing "
            "one, and are refused; set quote to null if quotes are text like any other"
        )
    if "rating" in roles and roles["rating"].column.kind == "decimal commas":
        yield "the ratings do not parse: they have decimal commas, and must be written with a point"
    if "timestamp" in roles:
        yield from doubts_of_size(roles["timestamp"].column)
    yield from doubts_of_unused(table.columns, {field: role.column.position for field, role in roles.items()})
    guessed = ", ".join(field for field, role in roles.items() if role.is_guess)
    if guessed:
        yield f"the roles of columns that their names do not tell are guesses: {guessed}"
