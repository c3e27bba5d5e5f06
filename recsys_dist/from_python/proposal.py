"""Settings for files named in Python: the given ones, completed by what `inspect` proposes."""

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
    columns: Mapping[Field, ColumnName | None],
    settings: Mapping[str, Any],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """The keys `input` and `ratings` for these files.

    Nothing is proposed if `settings` has `input.columns`, which makes it a complete configuration. `tell` is
    called with each doubt about a proposal. Raises `ConfigError` if a column is neither given nor found,
    `DataError` if the files differ in format.
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
        of += ", or None if each row is an interaction" if field == "rating" else ""
        raise ConfigError(f"{field}: not found among the columns of {sniffed.table.file.name}; set {field}=, {of}")
