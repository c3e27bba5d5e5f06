"""The settings of files that a Python program names: what it gives, and the rest as `inspect` proposes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.from_python.chosen import ColumnName
from recsys_dist.from_python.fields import Field
from recsys_dist.from_python.settings import TABLE, input_keys
from recsys_dist.preparation.inspection.sniff import MAX_REJECTED, Sniffed, sniff


def file_settings(
    paths: Sequence[str],
    columns: Mapping[Field, ColumnName],
    settings: Mapping[str, Any],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """The keys `input` and `ratings` of the settings of these files.

    Nothing is proposed where `settings` has `input.columns`: it is as complete as a configuration then. `tell` is
    called with what is doubtful in a proposal. Raises `ConfigError` where a column is neither given nor found,
    `DataError` where the files are not all alike.
    """
    given = input_keys(settings)
    if isinstance(given.get("columns"), dict):
        return {"input": {**given, "paths": list(paths), "columns": {**given["columns"], **columns}}}
    sniffed = sniff(TABLE, *paths, chosen={str(field): column for field, column in columns.items()})
    _require_columns(sniffed)
    if sniffed.stranger is not None:
        raise DataError(f"{TABLE}: {sniffed.stranger}")
    for remark in sniffed.remarks:
        tell(f"{sniffed.table.file.name}: {remark}")
    tree: dict[str, Any] = {"input": {**sniffed.tree, **given, "paths": list(paths)}}
    rules = settings.get("ratings", {})
    return tree | {"ratings": {"max_rejected": MAX_REJECTED, **rules}} if isinstance(rules, dict) else tree


def _require_columns(sniffed: Sniffed) -> None:
    taken = {role.column.position for role in sniffed.roles.values()}
    rest = [repr(column.reference) for column in sniffed.columns if column.position not in taken]
    for field in sniffed.missing:
        of = f"one of {', '.join(rest)}" if rest else "but no column is left"
        raise ConfigError(f"{field}: no column of {sniffed.table.file.name} seems to be it; give {field}=, {of}")
