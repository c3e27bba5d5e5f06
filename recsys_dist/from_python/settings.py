"""Builds the settings of a preparation, plain values as in a configuration, from Python arguments."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from recsys_dist.errors import ConfigError
from recsys_dist.from_python.chosen import ColumnName
from recsys_dist.from_python.fields import Field

TABLE, TITLES = "table", "titles"
"""Names of the in-memory tables in messages; they take the place of paths in the settings."""
FIELDS: tuple[Field, ...] = ("user", "item", "rating", "timestamp")
TITLE_FIELDS: tuple[Field, ...] = ("item", "title")


def merged(
    settings: Mapping[str, Any] | None, replacing: Mapping[str, Any], merging: Mapping[str, Any]
) -> dict[str, Any]:
    """Override `settings` by the arguments that are not None: `replacing` as a whole, `merging` key by key."""
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"settings must be a mapping of keys to values, not a {type(settings).__name__}")
    tree = _plain(settings or {})
    tree |= {name: _plain(value) for name, value in replacing.items() if value is not None}
    for name, value in merging.items():
        if value is not None:
            above, below = _plain(value), tree.get(name)
            tree[name] = below | above if isinstance(above, dict) and isinstance(below, dict) else above
    if isinstance(tree.get("split"), str):
        tree["split"] = {"kind": tree["split"]}
    return dict(tree)


def _plain(value: Any) -> Any:
    """Convert to the types that YAML gives; other values are checked later, with their key."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.generic):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def input_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of `input`."""
    given = tree.get("input") or {}
    if not isinstance(given, dict):
        raise ConfigError(f"settings: input must be a mapping of keys to values, not {given!r}")
    return given


def table_columns(columns: Mapping[Field, ColumnName | None], tree: Mapping[str, Any]) -> dict[Field, ColumnName]:
    """The column of each field: from the arguments, else the settings, else of the field's name.

    Timestamps have no default column. A column None for the rating means interactions.
    """
    configured = input_keys(tree).get("columns") or {}
    if not isinstance(configured, dict) or configured.keys() - set(FIELDS):
        raise ConfigError(f"settings: input.columns has the keys {', '.join(FIELDS)}, not {configured!r}")
    usual: dict[Field, ColumnName] = {"user": "user", "item": "item", "rating": "rating"}
    chosen = {**usual, **configured, **columns}
    return {field: chosen[field] for field in FIELDS if chosen.get(field) is not None}


def table_settings(columns: Mapping[Field, ColumnName], tree: Mapping[str, Any]) -> dict[str, Any]:
    """The key `input` for a table. Raises `ConfigError` for keys that name files."""
    given = input_keys(tree)
    if given.get("paths"):
        raise ConfigError(
            "settings: input.paths cannot be combined with a table; pass the paths instead of the table"
        )
    split = tree.get("split")
    if isinstance(split, dict) and split.get("kind") == "files":
        raise ConfigError(
            "split.kind: files needs input files; for a table use random, leave_n_out, time or users"
        )
    # Without a rating, the rows are interactions; the key is required.
    named = {"rating": None, **{field: field for field in columns}}
    return {"input": {**given, "paths": TABLE, "format": "parquet", "columns": named}}


def title_settings() -> dict[str, Any]:
    """The key `items` for titles in memory."""
    return {"items": {"paths": TITLES, "format": "parquet", "columns": {field: field for field in TITLE_FIELDS}}}
