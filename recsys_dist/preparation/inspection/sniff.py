"""Proposes settings for an unknown input from a sample.

In: a path, folder, archive, glob or URL. Out: facts about its largest file that is a table, a guess of each
column's role, the result of parsing the sample, and proposed settings, with which the other files are compared.
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
from recsys_dist.preparation.inspection.feedback import are_interactions
from recsys_dist.preparation.inspection.other_parts import compare, disagreements
from recsys_dist.preparation.inspection.table_sample import ParsedSample, SampledTable, read_table
from recsys_dist.preparation.inspection.text_shape import GOOD_SHARE
from recsys_dist.preparation.inspection.time_columns import DATES, doubts_of_size, doubts_of_unused
from recsys_dist.preparation.parsing.text_checks import readable
from recsys_dist.preparation.settings.input import Column, FileSettings, InputSettings

MAX_TRIED = 20
"""Maximum number of files tried, largest first, to find a table."""
INTERACTIONS = "no column can hold ratings, so each row is taken as an interaction (columns.rating: null)"
MAX_REJECTED = 0.01
"""The proposed value of ratings.max_rejected."""


@dataclass(frozen=True)
class Sniffed:
    """The findings and the proposal."""

    table: SampledTable
    folder_columns: tuple[ColumnFacts, ...]
    """Columns from folder names, with the values of all files."""
    num_files: int
    num_empty: int
    """Number of empty parts, in addition to these files."""
    roles: dict[str, Role]
    missing: tuple[str, ...]
    """Required fields for which no column was found."""
    tree: dict[str, Any]
    """The keys of `input`, without missing columns."""
    parsed: ParsedSample | None
    """None if a field is missing or the proposal cannot read the file."""
    remarks: tuple[str, ...]
    stranger: str | None = None
    """Why another file cannot be read with the proposal, which then names only the sampled file."""

    @property
    def has_ratings(self) -> bool:
        """Whether rows have ratings, or a column of ratings is missing; otherwise they are interactions."""
        return self.tree["columns"].get("rating", ...) is not None

    @property
    def columns(self) -> tuple[ColumnFacts, ...]:
        """The columns of the file, then those from folder names."""
        return (*self.table.columns, *self.folder_columns)


def sniff(key: str, *patterns: str, chosen: Mapping[str, Column | None] = {}) -> Sniffed:
    """Sample the largest file that `patterns` match, and compare the beginnings of the others.

    `chosen` maps fields to columns that the user has chosen; None for the rating means interactions. Raises
    `DataError` with `key` if no file matches, or naming a file that cannot be read, and `ConfigError` if a chosen
    column does not exist.
    """
    files, empty = set_aside_empty(key, find_files(key, patterns, FileSettings()))
    table = _largest_table(files)
    folder_columns = tuple(_folder_columns(files, table))
    fields = _fields(table, chosen)
    columns = [*table.columns, *_telling(folder_columns, table.columns, fields)]
    known = chosen_roles([*table.columns, *folder_columns], fields, chosen, table.file.name)
    roles = complete_roles(columns, fields, known)
    missing = tuple(field for field in fields if field not in roles and field != "timestamp")
    remarks = tuple(_doubts(table, roles))
    if are_interactions([*table.columns, *folder_columns], roles, missing):
        missing, remarks = (), (*remarks, INTERACTIONS)
    tree = _tree(patterns, table, roles, has_ratings="rating" in {*roles, *missing})
    if missing:
        return Sniffed(table, folder_columns, len(files), len(empty), roles, missing, tree, None, remarks)
    settings = parse_settings(InputSettings, tree, source=table.file.name)
    parts = list(compare(files, table.file, settings))
    strangers = [part.misfit for part in parts if part.misfit is not None]
    if strangers:
        tree |= {"paths": table.file.name}
        remarks += (f"only {table.file.name} is proposed, because another file differs from it: {strangers[0]}",)
        stranger = f"the files differ; settings that fit {table.file.name} do not fit another: {strangers[0]}"
    else:
        stranger = None
        # Objects may lack keys, so that two files of JSON Lines hardly ever have the same ones.
        names = () if table.file.format == "json" else _names(table)
        remarks += tuple(disagreements(parts, table.file, names))
    parsed, problem = _parse(table, settings)
    remarks += problem
    return Sniffed(table, folder_columns, len(files), len(empty), roles, missing, tree, parsed, remarks, stranger)


def _largest_table(files: Sequence[InputFile]) -> SampledTable:
    """The largest file that is a table. If there is none, raises the `DataError` of the largest file."""
    errors = []
    for file in sorted(files, key=lambda file: -file.num_bytes)[:MAX_TRIED]:
        try:
            return read_table(file)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def _folder_columns(files: Sequence[InputFile], table: SampledTable) -> Iterator[ColumnFacts]:
    """Columns from the folder names of the sampled file, unless the file has a column of that name."""
    values = [folder_values(file) for file in files]
    keys = [key for key in folder_values(table.file) if key not in _names(table)]
    for position, key in enumerate(keys, start=len(table.columns)):
        texts = [readable(pa.scalar(here[key], pa.binary())) for here in values if key in here]
        yield describe(position, key, pa.array(texts, pa.string()))


def _telling(
    folder_columns: Sequence[ColumnFacts], columns: Sequence[ColumnFacts], fields: Sequence[str]
) -> list[ColumnFacts]:
    """The folder columns whose name suggests a role that no column of the file has by name.

    Folder columns are not guessed by values: they have few distinct ones and would pass for ratings. A folder's
    date is not used as timestamp if the file has one, which is more precise.
    """
    taken = {_named_role(column, fields) for column in columns} | {None}
    taken |= guess_roles(columns, fields).keys() & {"timestamp"}
    return [column for column in folder_columns if _named_role(column, fields) not in taken]


def _named_role(column: ColumnFacts, fields: Sequence[str]) -> str | None:
    roles = guess_roles([column], fields)
    return next((field for field, role in roles.items() if not role.is_guess), None)


def _names(table: SampledTable) -> tuple[str, ...]:
    return tuple(column.name for column in table.columns if column.name is not None)


def _fields(table: SampledTable, chosen: Mapping[str, Column | None]) -> tuple[str, ...]:
    """The fields that need a column of the file."""
    has_item_lines = table.shape is not None and table.shape.has_item_lines
    elsewhere = {field for field, column in chosen.items() if column is None}
    fields = ("user", "rating", "timestamp") if has_item_lines else ("user", "item", "rating", "timestamp")
    return tuple(field for field in fields if field not in elsewhere)


def _tree(
    patterns: Sequence[str], table: SampledTable, roles: dict[str, Role], has_ratings: bool
) -> dict[str, Any]:
    paths = patterns[0] if len(patterns) == 1 else list(patterns)
    tree: dict[str, Any] = {"paths": paths, "format": table.file.format}
    if table.shape is not None:
        shape = table.shape
        tree |= {"separator": shape.separator, "quote": shape.quote, "header": shape.header is not None}
        if shape.escape is not None:
            tree["escape"] = shape.escape
        tree |= {"encoding": shape.encoding, "layout": "netflix" if shape.has_item_lines else "plain"}
    columns: dict[str, Any] = {field: role.column.reference for field, role in roles.items()}
    tree["columns"] = columns if has_ratings else {**columns, "rating": None}
    kind = roles["timestamp"].column.kind if "timestamp" in roles else "empty"
    return tree | {"timestamp_format": DATES.get(kind, "number")}


def _parse(table: SampledTable, settings: InputSettings) -> tuple[ParsedSample | None, tuple[str, ...]]:
    """The result of parsing the sample with the proposed settings, and remarks on it."""
    try:
        parsed = table.parse(settings)
    except DataError as error:
        return None, (f"the proposed settings cannot read the file: {error}",)
    if parsed.num_read == 0:
        return parsed, ("the sample has no rows",)
    if parsed.num_good == 0:
        return parsed, ("no row of the sample can be used with the proposed settings",)
    share = parsed.refused.total() / parsed.num_read
    if share > MAX_REJECTED:
        return parsed, (f"{share:.1%} of the rows cannot be used, more than the proposed ratings.max_rejected",)
    return parsed, ()


def _doubts(table: SampledTable, roles: dict[str, Role]) -> Iterator[str]:
    shape = table.shape
    if shape is not None and not shape.is_encoding_sure:
        yield "the encoding is a guess: the file is not UTF-8, and any file is valid latin-1"
    if shape is not None and shape.share < GOOD_SHARE:
        yield f"the separator is a guess: with it, {shape.share:.1%} of the lines have {shape.num_fields} fields"
    if shape is not None and shape.quote is not None and shape.num_misquoted:
        yield (
            f"{shape.num_misquoted:,} lines of the sample have a quote inside a field or text after a closing "
            "quote, and are rejected; set quote to null if quotes are ordinary text"
        )
    if "rating" in roles and roles["rating"].column.kind == "decimal commas":
        yield "the ratings cannot be parsed: they have decimal commas; write them with decimal points"
    for name, count in Counter(_names(table)).items():
        if count > 1 and name:
            yield f"{count} columns are named {name!r}, so none of them can be chosen by name; rename them"
    if "timestamp" in roles:
        yield from doubts_of_size(roles["timestamp"].column)
    yield from doubts_of_unused(table.columns, {field: role.column.position for field, role in roles.items()})
    if len(table.columns) < table.num_columns:
        yield f"only the first {len(table.columns):,} of {table.num_columns:,} keys are examined"
    guessed = ", ".join(field for field, role in roles.items() if role.is_guess)
    if guessed:
        yield f"column roles that are guesses, not clear from the names: {guessed}"
