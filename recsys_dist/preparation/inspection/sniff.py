"""What an unknown input seems to hold, and which settings would read it: proposed from a sample, never decided.

In: a path, a folder, an archive, a glob or a URL. Out: facts about the largest of its files that is a table, a
guess at the role of each column, what the parser makes of the sample by that guess, and the settings to begin
with, against which the other files are held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from recsys_dist.config import parse_settings
from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.empty_parts import set_aside_empty
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.hive import folder_values
from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.inspection.column_facts import ColumnFacts, describe
from recsys_dist.preparation.inspection.column_roles import Role, chosen_roles, complete_roles, guess_roles
from recsys_dist.preparation.inspection.other_parts import compare, disagreements
from recsys_dist.preparation.inspection.table_sample import ParquetTable, ParsedSample, TextTable, read_table
from recsys_dist.preparation.inspection.text_shape import GOOD_SHARE
from recsys_dist.preparation.inspection.time_columns import doubts_of_size, doubts_of_unused
from recsys_dist.preparation.parsing.text_checks import readable
from recsys_dist.preparation.settings.input import Column, FileSettings, InputSettings

MAX_TRIED = 20
"""So many of the largest files are looked at for one that is a table."""
MAX_REJECTED = 0.01
"""The fraction of unusable rows above which the proposed settings stop a preparation."""


@dataclass(frozen=True)
class Sniffed:
    """What was found, and the proposal."""

    table: TextTable | ParquetTable
    folder_columns: tuple[ColumnFacts, ...]
    """What the names of folders tell, with the values of all files."""
    num_files: int
    num_empty: int
    """Parts that hold nothing, beside these files."""
    roles: dict[str, Role]
    missing: tuple[str, ...]
    """Fields that every rating needs and that no column was found for."""
    tree: dict[str, Any]
    """The keys of `input`, without the columns that are missing."""
    parsed: ParsedSample | None
    """None where a field is missing, or the file cannot be read by the proposal."""
    remarks: tuple[str, ...]
    stranger: str | None = None
    """Why another file is not read by the proposal, which then names the one looked at alone."""

    @property
    def columns(self) -> tuple[ColumnFacts, ...]:
        """The columns of the file, and those of the folders on its path."""
        return (*self.table.columns, *self.folder_columns)


def sniff(key: str, *patterns: str, chosen: Mapping[str, Column] = {}) -> Sniffed:
    """Look at the largest file that `patterns` stand for, and at the beginnings of the others.

    `chosen` are columns whose roles are known, by field. Raises `DataError`, which begins with `key` where there
    is no such file, and else names what cannot be read; `ConfigError` where there is no such column.
    """
    files, empty = set_aside_empty(key, find_files(key, patterns, FileSettings()))
    table = _largest_table(files)
    folder_columns = tuple(_folder_columns(files, table))
    fields = _fields(table)
    columns = [*table.columns, *_telling(folder_columns, table.columns, fields)]
    known = chosen_roles([*table.columns, *folder_columns], fields, chosen, table.file.name)
    roles = complete_roles(columns, fields, known)
    missing = tuple(field for field in fields if field not in roles and field != "timestamp")
    tree, remarks = _tree(patterns, table, roles), tuple(_doubts(table, roles))
    if missing:
        return Sniffed(table, folder_columns, len(files), len(empty), roles, missing, tree, None, remarks)
    settings = parse_settings(InputSettings, tree, source=table.file.name)
    parts = list(compare(files, table.file, settings))
    strangers = [part.misfit for part in parts if part.misfit is not None]
    if strangers:
        tree |= {"paths": table.file.name}
        remarks += (f"only {table.file.name} is proposed, as another file is not like it: {strangers[0]}",)
        stranger = f"the files are not alike, for one is {table.file.name}, and of another: {strangers[0]}"
    else:
        stranger = None
        remarks += tuple(disagreements(parts, table.file, _names(table)))
    parsed, problem = _parse(table, settings)
    remarks += problem
    return Sniffed(table, folder_columns, len(files), len(empty), roles, missing, tree, parsed, remarks, stranger)


def _largest_table(files: Sequence[InputFile]) -> TextTable | ParquetTable:
    """The largest file that is a table. Raises the `DataError` of the largest where none is."""
    errors = []
    for file in sorted(files, key=lambda file: -file.num_bytes)[:MAX_TRIED]:
        try:
            return read_table(file)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def _folder_columns(files: Sequence[InputFile], table: TextTable | ParquetTable) -> Iterator[ColumnFacts]:
    """What the folders on the path of the file looked at tell, where it has no such column itself."""
    values = [folder_values(file) for file in files]
    keys = [key for key in folder_values(table.file) if key not in _names(table)]
    for position, key in enumerate(keys, start=len(table.columns)):
        texts = [readable(pa.scalar(here[key], pa.binary())) for here in values if key in here]
        yield describe(position, key, pa.array(texts, pa.string()))


def _telling(
    folder_columns: Sequence[ColumnFacts], columns: Sequence[ColumnFacts], fields: Sequence[str]
) -> list[ColumnFacts]:
    """The columns of folders whose names tell a role that the name of no column in the file does.

    Guessed by their values they would be taken for ratings, of which folders have few as well. The date of a
    folder is no timestamp where the file itself has one, which tells more.
    """
    told = {_named_role(column, fields) for column in columns} | {None}
    told |= guess_roles(columns, fields).keys() & {"timestamp"}
    return [column for column in folder_columns if _named_role(column, fields) not in told]


def _named_role(column: ColumnFacts, fields: Sequence[str]) -> str | None:
    roles = guess_roles([column], fields)
    return next((field for field, role in roles.items() if not role.is_guess), None)


def _names(table: TextTable | ParquetTable) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns if column.name is not None)


def _fields(table: TextTable | ParquetTable) -> tuple[str, ...]:
    has_item_lines = table.shape is not None and table.shape.has_item_lines
    return ("user", "rating", "timestamp") if has_item_lines else ("user", "item", "rating", "timestamp")


def _tree(patterns: Sequence[str], table: TextTable | ParquetTable, roles: dict[str, Role]) -> dict[str, Any]:
    paths = patterns[0] if len(patterns) == 1 else list(patterns)
    tree: dict[str, Any] = {"paths": paths, "format": table.file.format}
    if table.shape is not None:
        shape = table.shape
        tree |= {"separator": shape.separator, "quote": shape.quote, "header": shape.header is not None}
        if shape.escape is not None:
            tree["escape"] = shape.escape
        tree |= {"encoding": shape.encoding, "layout": "netflix" if shape.has_item_lines else "plain"}
    tree["columns"] = {field: roles[field].column.reference for field in _fields(table) if field in roles}
    has_dates = "timestamp" in roles and roles["timestamp"].column.kind == "dates"
    return tree | {"timestamp_format": "iso" if has_dates else "number"}


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
    for name, count in Counter(_names(table)).items():
        if count > 1 and name:
            yield f"{count} columns are named {name!r}, so that none of them can be chosen by name: rename them"
    if "timestamp" in roles:
        yield from doubts_of_size(roles["timestamp"].column)
    yield from doubts_of_unused(table.columns, {field: role.column.position for field, role in roles.items()})
    guessed = ", ".join(field for field, role in roles.items() if role.is_guess)
    if guessed:
        yield f"the roles of columns that their names do not tell are guesses: {guessed}"
