"""Selects the columns of a table that become fields of ratings or titles, and converts their rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from recsys_dist.errors import ConfigError
from recsys_dist.from_python.fields import Column, Field
from recsys_dist.from_python.tables import Table, reading
from recsys_dist.preparation.handed_over import TableRows
from recsys_dist.suggestions import did_you_mean

ColumnName = str | int
SHOWN_CHARACTERS = 200


def table_rows(table: Table, name: str, chosen: Mapping[Field, ColumnName]) -> TableRows:
    """The rows of the chosen columns; `name` is the table's name in error messages.

    Raises `ConfigError` for a column that is missing, ambiguous or chosen for two fields.
    """
    places = {field: _place(table, name, field, column) for field, column in chosen.items()}
    for field, place in places.items():
        twin = next(other for other, taken in places.items() if taken == place)
        if twin != field:
            raise ConfigError(f"{twin} and {field} name the same column of the {name}, {table.labels[place]!r}")
    columns = [
        Column(field, f"{name}[{table.labels[place]!r}]", table.kinds[place] if table.kinds is not None else None)
        for field, place in places.items()
    ]
    return TableRows(name, lambda: _batches(table, list(places.values()), columns))


def _place(table: Table, name: str, field: Field, column: ColumnName) -> int:
    """Find a column by its label or, if no label is a number, by its position from 0."""
    if not isinstance(column, str | int) or isinstance(column, bool):
        raise ConfigError(f"{field} must be the name of a column, not {column!r}")
    labels = [None if isinstance(label, bool) else label for label in table.labels]
    places = [place for place, label in enumerate(labels) if label == column]
    if not places and isinstance(column, int) and not any(isinstance(label, int) for label in labels):
        places = [column] if 0 <= column < len(labels) else []
    if len(places) == 1:
        return places[0]
    if column in table.index_labels:
        raise ConfigError(
            f"{field}: {column!r} is the index of the {name}, not a column; call reset_index() first"
        )
    problem = "more than one column" if places else "no column"
    shown = ", ".join(map(str, table.labels))[:SHOWN_CHARACTERS]
    meant = "" if places else did_you_mean(str(column), [str(label) for label in table.labels])
    hint = "; rating=None if each row is an interaction" if field == "rating" else ""
    raise ConfigError(f"{field}: {problem} {column!r} in the {name}; its columns: {shown}{hint or meant}")


def _batches(table: Table, places: Sequence[int], columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
    first_row, chunks = 0, iter(table.chunks(places))
    names = [column.field for column in columns]
    while (chunk := _next(chunks)) is not None:
        arrays = [column.array(values, first_row) for column, values in zip(columns, chunk, strict=True)]
        batch = pa.record_batch(arrays, names=names)
        if batch.num_rows:
            yield batch
        first_row += batch.num_rows


def _next(chunks: Iterator[Any]) -> Any:
    with reading():
        return next(chunks, None)
