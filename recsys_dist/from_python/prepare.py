"""`recsys_dist.prepare`: from a table in memory, or files, to a prepared dataset, by the function of the command.

table --table_rows--> Parquet below the output --preparation.prepare--> Dataset
paths --sniff, settings-------------------------^
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any, Never

from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import Manifest
from recsys_dist.errors import ConfigError
from recsys_dist.from_python.chosen import ColumnName, table_rows
from recsys_dist.from_python.fields import Field
from recsys_dist.from_python.matrices import is_matrix, matrix_table
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
    rating: ColumnName | None = None,
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

    `table` is one of these, a row of which is a rating:

    - a DataFrame of pandas, polars (also a LazyFrame) or Dask, a table, batch or reader of Arrow, or anything with
      `__arrow_c_stream__`. `user`, `item`, `rating` and `timestamp` name its columns, by default the first three
      so named, and no times.
    - a sparse matrix or array of SciPy: rows are users, columns items, and every entry that it stores is a rating,
      a zero too. Ids are the numbers of rows and columns from 0, or `user_ids` and `item_ids`, one for each.
    - a path or URL of a file, a folder or a glob, or a list of these. The columns are then names or positions from
      0, and what is not given is proposed as `recsys-dist inspect` does, unless `settings` has `input.columns`.

    Ids are text exactly; whole numbers stand for their digits, and columns of fractions, truth values or bytes are
    refused. Rows that cannot be used are set aside and counted: `rejects/` of the dataset has each with its row,
    from 1. Times are numbers, dates or times; as text they are numbers, or dates with `timestamp_format` iso of
    `input` in `settings`. `titles` maps items to titles, or is a table with the columns `item` and `title`.

    `settings` has the keys of a configuration such as configs/prepare_csv.yaml. The arguments replace what it
    says, `ratings`, `shards` and `cluster` key by key. `split` is a rule such as {"kind": "time", "test": 0.1}, or
    its kind alone. `overwrite` replaces a dataset, `append` adds to it. `progress` is called with stage, tasks
    done, tasks in all and rows done. Remarks go to the log. Raises `ConfigError` or `DataError` with one line. A
    preparation that was interrupted continues when it is called again with the same settings and rows.
    """
    _refuse(unknown)
    given: dict[Field, ColumnName | None] = {"user": user, "item": item, "rating": rating, "timestamp": timestamp}
    columns = {field: column for field, column in given.items() if column is not None}
    tree = merged(
        settings,
        {"output": os.fspath(output), "split": split, "overwrite": overwrite, "append": append},
        {"ratings": ratings, "shards": shards, "cluster": cluster},
    )
    rows, tree = _rows_of(_source(table, user_ids, item_ids), columns, tree)
    told = None if titles is None else title_rows(titles, TITLES, item, title)
    config = parse_settings(PrepareConfig, tree if told is None else tree | title_settings(), source="prepare")
    prepare_dataset(config, progress, _tell(told), HandedOver(rows, told))
    dataset = Dataset.open(config.output)
    _summarize(dataset.manifest, config.output)
    return dataset


def _refuse(unknown: Mapping[str, Any]) -> None:
    """Raise `ConfigError` naming the first argument that there is not."""
    for name in unknown:
        known = ", ".join(name for name in signature(prepare).parameters if name != "unknown")
        raise ConfigError(f"prepare has no argument {name!r}; it has: {known}")


def _rows_of(
    source: Any, columns: Mapping[Field, ColumnName], tree: dict[str, Any]
) -> tuple[TableRows | None, dict[str, Any]]:
    """The rows of a table, None of files; and the settings, with what is proposed for them."""
    if isinstance(source, list):
        return None, tree | file_settings(source, columns, tree, logger.warning)
    chosen = table_columns(columns, tree)
    return table_rows(source, TABLE, chosen), tree | table_settings(chosen, tree)


def _source(given: Any, user_ids: Values | None, item_ids: Values | None) -> Table | list[str]:
    """The table that is given, or the paths."""
    if is_matrix(given):
        return matrix_table(given, user_ids, item_ids)
    if user_ids is not None or item_ids is not None:
        raise ConfigError("user_ids and item_ids name the rows and columns of a sparse matrix, which table is not")
    paths = given if isinstance(given, list | tuple) else [given]
    if paths and all(isinstance(path, str | os.PathLike) for path in paths):
        return [os.fspath(path) for path in paths]
    table = as_table(given)
    if table is None:
        raise ConfigError(f"table must be {WANTED}, not a {type(given).__name__}")
    return table


def _tell(titles: TableRows | None) -> Callable[[str], None]:
    """Where remarks go; titles of this process are in no files."""
    if titles is None:
        return logger.warning
    return lambda remark: logger.warning("%s", remark.replace("items.paths", TITLES))


def _summarize(manifest: Manifest, output: str) -> None:
    rows = manifest.rows
    logger.info("%s: %s rows read, %s kept", output, f"{rows.read:,}", f"{rows.kept:,}")
    if rows.rejected:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(rows.rejected.items()))
        logger.warning("%s of %s rows set aside: %s", f"{rows.read - rows.kept:,}", f"{rows.read:,}", reasons)
