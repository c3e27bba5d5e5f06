"""Predicts every pair of a file, block by block, in memory that does not depend on its length.

N pairs of a block, D distinct ids of a side in a block
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.tables.reading import TableBlock, read_table
from recsys_dist.inference.tables.writing import check_table_file, table_writer

Index = NDArray[np.int64]


class PairsProgress(Protocol):
    """Called with the stage, the parts of the file that are done, all of them, and the pairs that are done."""

    def __call__(self, stage: str, done: int, total: int, rows: int = 0, /) -> None:
        """Show the progress."""
        ...


@dataclass
class PredictedPairs:
    """Counts of a file of predictions."""

    num_pairs: int = 0
    num_cold: dict[Side, int] = field(default_factory=lambda: dict.fromkeys(SIDES, 0))
    """Pairs whose user (item) the model has no train rating of."""


def predict_file(
    predictor: Predictor,
    pairs: str,
    columns: tuple[str, str],
    output: Path,
    with_std: bool,
    progress: PairsProgress,
) -> PredictedPairs:
    """Write the file at `pairs` with a prediction beside each row; `columns` are those of user and item ids.

    Added columns: `predicted` (the rating, clipped to the range of the data) or, of a model that ranks, `score`;
    `std` if wanted; `known_user` and `known_item`, whether the model has train ratings of this user and item.
    Without them predictions come from the other side and from the average. The file is written whole or left
    unchanged. Raises `DataError` for a row that cannot be used, and `ConfigError` if the model has no uncertainty.
    """
    check_table_file(output)
    if columns[0] == columns[1]:
        raise ConfigError(f"--user-column and --item-column are both {columns[0]!r}; name two columns")
    beside, counts = _Beside(predictor, columns, with_std), PredictedPairs()
    id_columns = dict(zip(("--user-column", "--item-column"), columns, strict=True))
    with table_writer(output) as write:
        for block in read_table("PAIRS", pairs, id_columns):
            write(beside.table(pairs, block, counts))
            progress("parts", block.num_done, block.num_parts, counts.num_pairs)
    return counts


class _Beside:
    """Adds predictions to blocks."""

    def __init__(self, predictor: Predictor, columns: tuple[str, str], with_std: bool) -> None:
        self._predictor, self._with_std = predictor, with_std
        self._column_of: dict[Side, str] = dict(zip(SIDES, columns, strict=True))
        self._is_cold = {side: predictor.catalog.is_cold(side) for side in SIDES}
        if with_std:
            # Raises an error before any work if the model has none.
            _ = predictor.uncertainty

    def table(self, source: str, block: TableBlock, counts: PredictedPairs) -> pa.Table:
        """The block with the added columns; adds to the counts."""
        (user_D, row_N), (item_D, place_N) = (self._indices(side, block) for side in SIDES)
        users, item_N = self._predictor.known(user_D), item_D[place_N]
        is_cold = {"users": self._is_cold["users"][user_D][row_N], "items": self._is_cold["items"][item_N]}
        added: dict[str, NDArray[Any]] = {self._figure: self._predictor.ratings(users, row_N, item_N)}
        if self._with_std:
            added["std"] = self._predictor.stds(users, row_N, item_N)
        counts.num_pairs += len(row_N)
        for side in SIDES:
            added[f"known_{side[:-1]}"] = ~is_cold[side]
            counts.num_cold[side] += int(is_cold[side].sum())
        return _joined(source, block.table, added)

    @property
    def _figure(self) -> str:
        return "predicted" if self._predictor.scorer.predicts_ratings else "score"

    def _indices(self, side: Side, block: TableBlock) -> tuple[Index, Index]:
        """Dense index of each distinct id of a side, [D], and the place of each pair's id among them, [N]."""
        ids = block.ids[self._column_of[side]]
        index = self._predictor.catalog.user_ids if side == "users" else self._predictor.catalog.item_ids
        return index.find(ids.dictionary), ids.indices.to_numpy().astype(np.int64)


def _joined(source: str, table: pa.Table, added: dict[str, NDArray[Any]]) -> pa.Table:
    for name, values in added.items():
        if name in table.column_names:
            raise DataError(f"{source} has a column {name!r}, which predictions need; rename or remove it")
        table = table.append_column(name, pa.array(values))
    return table
