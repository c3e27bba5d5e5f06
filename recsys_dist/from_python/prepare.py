"""`recsys_dist.prepare`: prepares a dataset from a table in memory or from files, as the command `prepare` does.

table --table_rows--> Parquet below the output --preparation.prepare--> Dataset
paths --sniff, settings-------------------------^
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from inspect import signature
from types import EllipsisType
from typing import Any, Never

from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import Manifest
from recsys_dist.errors import ConfigError
from recsys_dist.from_python.chosen import ColumnName, table_rows
from recsys_dist.from_python.fields import Field
from recsys_dist.from_python.matrices import is_matrix, matrix_table, require_no_zeros
from recsys_dist.from_python.proposal import file_settings
from recsys_dist.from_python.settings import TABLE, TITLES, merged, table_columns, table_settings, title_settings
from recsys_dist.from_python.tables import Table, as_table
from recsys_dist.from_python.titles import title_rows
from recsys_dist.inference.columns import Values
from recsys_dist.preparation.cluster.cluster import Progress
from recsys_dist.preparation.handed_over import HandedOver, TableRows
from recsys_dist.preparation.prepare import prepare as prepare_dataset
from recsys_dist.preparation.settings.prepare import PrepareConfig

WANTED = (
    "a DataFrame of pandas, polars or Dask, a table or stream of Arrow, a sparse matrix of SciPy, or a path or a "
    "list of paths"
)
logger = logging.getLogger(__name__)


def prepare(
    table: Any,
    output: str | os.PathLike[str],
    *,
    user: ColumnName | None = None,
    item: ColumnName | None = None,
    rating: ColumnName | EllipsisType | None = ...,
    timestamp: ColumnName | None = None,
    titles: Any = None,
    title: ColumnName = "title",
    user_ids: Values | None = None,
    item_ids: Values | None = None,
    split: str | Mapping[str, Any] | None = None,
    ratings: Mapping[str, Any] | None = None,
    shards: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    overwrite: bool | None = None,
    append: bool | None = None,
    progress: Progress | None = None,
    **unknown: Never,
) -> Dataset:
    """Prepare a dataset in the folder or URL `output` from ratings in memory or in files, and open it.

    `table` has one rating per row and is one of:

    - a DataFrame of pandas, polars (also a LazyFrame) or Dask, an Arrow table, batch or reader, or any object with
      `__arrow_c_stream__`. `user`, `item`, `rating` and `timestamp` name its columns. The default is the columns
      `user`, `item` and `rating`, without timestamps.
    - a SciPy sparse matrix or array: rows are users, columns are items, and every stored entry is a rating, even a
      zero. Ids are row and column numbers from 0, or `user_ids` and `item_ids`, one for each row and column.
    - a path or URL of a file, a folder or a glob, or a list of these. Columns are then names or positions from 0.
      Settings that are not given are proposed as by `recsys-dist inspect`, unless `settings` has `input.columns`.

    With `rating=None` each row is an interaction of value 1, or with `ratings={"duplicates": "count"}` adds one.
    Ids are exact text; whole numbers become their digits. Id columns of fractions, booleans or bytes are refused.
    Rows that cannot be used are set aside and counted; `rejects/` of the dataset lists each with its row number
    from 1. Timestamps are numbers, dates or times. As text they are numbers, or dates and times if `settings` has
    `input.timestamp_format: iso`. `titles` maps items to titles, or is a table with columns `item` and `title`.

    `settings` has the keys of a configuration such as configs/prepare_csv.yaml. The arguments override it;
    `ratings`, `shards` and `cluster` do so key by key. `split` is a rule such as {"kind": "time", "test": 0.1}, or
    just its kind. `overwrite` replaces a dataset, `append` adds to it. `progress` is called with (stage, tasks
    done, total tasks, rows done). Remarks go to the log. Raises `ConfigError` or `DataError` with a one-line
    message. An interrupted preparation continues when called again with the same settings and rows.
    """
    _refuse(unknown)
    columns = _given(user, item, rating, timestamp)
    tree = merged(
        settings,
        {"output": os.fspath(output), "split": split, "overwrite": overwrite, "append": append},
        {"ratings": ratings, "shards": shards, "cluster": cluster},
    )
    rows, tree = _rows_of(_source(table, user_ids, item_ids, columns), columns, tree)
    named = None if titles is None else title_rows(titles, TITLES, item, title)
    config = parse_settings(PrepareConfig, tree if named is None else tree | title_settings(), source="prepare")
    prepare_dataset(config, progress, _tell(named), HandedOver(rows, named))
    dataset = Dataset.open(config.output)
    _summarize(dataset.manifest, config.output)
    return dataset


def _refuse(unknown: Mapping[str, Any]) -> None:
    """Raise `ConfigError` naming the first unknown argument."""
    for name in unknown:
        known = ", ".join(name for name in signature(prepare).parameters if name != "unknown")
        raise ConfigError(f"prepare has no argument {name!r}; it has: {known}")


def _given(
    user: ColumnName | None,
    item: ColumnName | None,
    rating: ColumnName | EllipsisType | None,
    timestamp: ColumnName | None,
) -> dict[Field, ColumnName | None]:
    """The columns that are given; None for the rating means interactions."""
    fields: dict[Field, ColumnName | None] = {"user": user, "item": item, "timestamp": timestamp}
    given: dict[Field, ColumnName | None] = {field: one for field, one in fields.items() if one is not None}
    return given if isinstance(rating, EllipsisType) else {**given, "rating": rating}


def _rows_of(
    source: Any, columns: Mapping[Field, ColumnName | None], tree: dict[str, Any]
) -> tuple[TableRows | None, dict[str, Any]]:
    """The rows of a table, or None for files, and the settings completed for this input."""
    if isinstance(source, list):
        return None, tree | file_settings(source, columns, tree, logger.warning)
    chosen = table_columns(columns, tree)
    return table_rows(source, TABLE, chosen), tree | table_settings(chosen, tree)


def _source(
    given: Any, user_ids: Values | None, item_ids: Values | None, columns: Mapping[Field, ColumnName | None]
) -> Table | list[str]:
    """The given table, or the list of paths."""
    if is_matrix(given):
        if columns.get("rating", ...) is None:
            require_no_zeros(given)
        return matrix_table(given, user_ids, item_ids)
    if user_ids is not None or item_ids is not None:
        raise ConfigError("user_ids and item_ids name the rows and columns of a sparse matrix, but table is none")
    paths = given if isinstance(given, list | tuple) else [given]
    if paths and all(isinstance(path, str | os.PathLike) for path in paths):
        return [os.fspath(path) for path in paths]
    table = as_table(given)
    if table is None:
        raise ConfigError(f"table must be {WANTED}, not a {type(given).__name__}")
    return table


def _tell(titles: TableRows | None) -> Callable[[str], None]:
    """The function that logs remarks; for titles in memory it replaces the key `items.paths`."""
    if titles is None:
        return logger.warning
    return lambda remark: logger.warning("%s", remark.replace("items.paths", TITLES))


def _summarize(manifest: Manifest, output: str) -> None:
    rows = manifest.rows
    logger.info("%s: %s rows read, %s kept", output, f"{rows.read:,}", f"{rows.kept:,}")
    if rows.rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rows.rejected.items()))
        logger.warning("%s of %s rows set aside: %s", f"{rows.read - rows.kept:,}", f"{rows.read:,}", reasons)
