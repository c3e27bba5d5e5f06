"""Determines where the wanted fields lie in the objects of a file, from its first lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.hive import folder_values, wanted_values
from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.parsing.json_lines.objects import FieldKind, Path, decode, keys_of
from recsys_dist.preparation.parsing.layout import first_lines
from recsys_dist.preparation.settings.input import Column, FileSettings

KINDS: dict[str, FieldKind] = {
    "user": "id",
    "item": "id",
    "rating": "number",
    "timestamp": "number",
    "title": "title",
}
SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class JsonLayout:
    """The places of the wanted fields in the objects of a file."""

    encoding: str
    fields: Mapping[str, tuple[Path, FieldKind]]
    """Path and kind of each field in the objects."""
    folder_values: Mapping[str, bytes] = field(default_factory=dict)
    """Fields of all lines from folder names `KEY=VALUE` on the path."""


def read_json_layout(
    file: InputFile, settings: FileSettings, columns: Mapping[str, Column | None], key: str
) -> JsonLayout:
    """Determine the layout from the beginning of `file`. `key` is the settings' key, for errors.

    Raises `DataError` if no line is an object, or a wanted key is in none of them.
    """
    if settings.has_item_lines:
        raise DataError(f"{file.name} is JSON, but layout: netflix is for text")
    wanted = {name: column for name, column in columns.items() if column is not None}
    objects = first_objects(file, first_lines(file, settings.encoding))
    paths = dict.fromkeys(path for one in objects for path in keys_of(one))
    in_folders = wanted_values(file, wanted, [".".join(path) for path in paths])
    fields = {
        name: (_path(file, f"{key}.columns.{name}", column, objects, paths), KINDS[name])
        for name, column in wanted.items()
        if name not in in_folders
    }
    return JsonLayout(settings.encoding, fields, in_folders)


def first_objects(file: InputFile, lines: Iterable[str]) -> list[dict[str, Any]]:
    """The lines that are objects. Raises `DataError` if there is none."""
    objects = [found for line in lines if (found := decode(line)) is not None]
    if not objects:
        raise DataError(
            f"{file.name} is not JSON Lines: none of its first lines is a JSON object; set format to csv for "
            "delimited text"
        )
    return objects


def _path(file: InputFile, key: str, column: Column, objects: list[dict[str, Any]], paths: Iterable[Path]) -> Path:
    """The path of a column: a key of that very name, or keys separated by dots."""
    if isinstance(column, int):
        raise DataError(f"{key} is position {column}, but {file.name} is JSON, whose columns have names")
    path = (column,) if any(column in one for one in objects) else tuple(column.split("."))
    # A value that is an object in every line can still be chosen; its rows are then rejected one by one.
    if not any(known[: len(path)] == path for known in paths):
        shown = ", ".join([*map(".".join, paths), *folder_values(file)])[:SHOWN_CHARACTERS]
        raise DataError(f"{key}: {file.name} has no key {column!r} in its first lines; its keys are: {shown}")
    return path
