"""Item titles in memory: a mapping or a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from recsys_dist.errors import ConfigError
from recsys_dist.from_python.chosen import ColumnName, table_rows
from recsys_dist.from_python.tables import CHUNK_ROWS, Chunk, Table, as_table
from recsys_dist.preparation.handed_over import TableRows


def title_rows(titles: Any, name: str, item: ColumnName | None, title: ColumnName) -> TableRows:
    """The rows of `titles`; `name` is its name in error messages.

    In a table, the ids are in the column `item`, or in "item" if the table has no such column. Raises
    `ConfigError` for anything but a mapping or a table.
    """
    if isinstance(titles, Mapping):
        return table_rows(_of_mapping(titles), name, {"item": "item", "title": "title"})
    table = as_table(titles)
    if table is None:
        raise ConfigError(
            f"titles must be a mapping of items to titles or a table, not a {type(titles).__name__}; name files "
            "by `items` in settings, as in configs/prepare_ml1m.yaml"
        )
    column = item if item is not None and item in list(table.labels) else "item"
    return table_rows(table, name, {"item": column, "title": title})


def _of_mapping(titles: Mapping[Any, Any]) -> Table:
    def chunks(places: Sequence[int]) -> Iterator[Chunk]:
        pairs = iter(titles.items())
        while rows := list(islice(pairs, CHUNK_ROWS)):
            yield [[row[place] for row in rows] for place in places]

    return Table(["item", "title"], chunks)
