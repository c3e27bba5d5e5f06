"""An AutoRec as a bilinear model: hidden states of its rows on one side, decoder rows of its columns on the other.

score = mean + row_bias + column_bias + hidden . column_vector     (see models/autorec.py)

H hidden units, R rows of a piece, C columns. Rows are items in an item-AutoRec, users in a user-AutoRec.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from recsys_dist.checkpoint.model_folder import ModelWriter
from recsys_dist.checkpoint.state import StateReader
from recsys_dist.checkpoint.tables import CHUNK_ROWS, TableWriter
from recsys_dist.data.dataset import Dataset, Side
from recsys_dist.data.loader import slice_rows
from recsys_dist.kernels.sparse import Csr
from recsys_dist.models.autorec import RowEncoder, column_factors
from recsys_dist.models.short_rows import ShortRows, fit_short_rows

ROWS_AT_ONCE = 4096
ROWS_FITTED, COLUMNS_FITTED = 1000, 256
"""About so many show what becomes of short rows."""
CPU = torch.device("cpu")
StageProgress = Callable[[str, int, int], None]


def write_autorec(
    run: StateReader, settings: Mapping[str, Any], dataset: Dataset, writer: ModelWriter, progress: StageProgress
) -> dict[str, Any]:
    """Write the tables of an AutoRec; returns what model.json says of it."""
    rows: Side = settings["orientation"]
    columns: Side = "users" if rows == "items" else "items"
    _write_columns(run, columns, dataset, writer, progress)
    encoder = _encoder(run, settings, dataset.num_rows(columns))
    average = _write_rows(encoder, rows, dataset, writer, progress)
    if rows == "users":
        _write_encoder(run, dataset.num_items, layer_sizes(settings), writer)
        names = ("mean", "scale", "row_shrinkage", "presence", "length_power", "mean_length")
        # Runs from before the last three could be anything but 0 do not name them.
        numbers = {name: run.values[name] for name in names if name in run.values}
        fold_in: dict[str, Any] = {
            "kind": "encode",
            "hidden_activation": settings["hidden_activation"],
            **numbers,
        }
        short = _short_users(run, encoder, average, dataset)
        fold_in |= {"centring": _centring(settings), "short_length": short.length, "short_pull": short.pull}
    else:
        shrinkage = run.values["column_shrinkage"]
        # What training has chosen, or what it was told; runs from before there was a choice name the latter alone.
        penalty = run.values.get("regularization", settings["regularization"])
        fold_in = {"kind": "ridge", "regularization": penalty, "column_shrinkage": shrinkage}
    return {
        "offset": run.values["mean"],
        "output_activation": settings["output_activation"],
        "fold_in": fold_in,
    }


def layer_sizes(settings: Mapping[str, Any]) -> list[int]:
    """Units of each hidden layer."""
    hidden = settings["hidden"]
    # Runs from before there could be several name one number.
    return [hidden] if isinstance(hidden, int) else list(hidden)


def _centring(settings: Mapping[str, Any]) -> str:
    # Runs from before there was a choice do not name it.
    return str(settings.get("centring", "biases"))


@dataclass
class _Average:
    """Writes rows and remembers the mean of those with a train rating: the best guess for a row without any."""

    table: TableWriter
    totals: dict[str, torch.Tensor] = field(default_factory=dict)
    count: int = 0

    def append(self, piece: dict[str, torch.Tensor], is_rated_R: torch.Tensor) -> None:
        self.table.append(piece)
        self.count += int(is_rated_R.sum())
        for name, tensor in piece.items():
            total = tensor[is_rated_R].double().sum(0)
            self.totals[name] = self.totals[name] + total if name in self.totals else total

    def append_mean(self) -> dict[str, torch.Tensor]:
        """End the table with the mean row, and return it."""
        mean = {name: (total / self.count).float() for name, total in self.totals.items()}
        self.table.append({name: row[None] for name, row in mean.items()})
        return mean


def _write_columns(
    run: StateReader, side: Side, dataset: Dataset, writer: ModelWriter, progress: StageProgress
) -> None:
    num_columns, scale = dataset.num_rows(side), float(str(run.values["scale"]))
    is_rated = torch.from_numpy(dataset.num_train(side) > 0)
    with writer.table(side) as table:
        average = _Average(table)
        for start in range(0, num_columns, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, num_columns)
            vector_RH, bias_R = column_factors(run.read_rows("columns", start, stop), scale)
            average.append({"vector": vector_RH, "bias": bias_R}, is_rated[start:stop])
            progress(f"merging {side}", stop, num_columns)
        average.append_mean()


def _encoder(run: StateReader, settings: Mapping[str, Any], num_columns: int) -> RowEncoder:
    return RowEncoder.from_state(
        run.read_rows("columns", 0, num_columns),
        run.read_rows("hidden", 0, layer_sizes(settings)[0]),
        _layers(run, layer_sizes(settings)),
        run.values,
        settings["hidden_activation"],
        _centring(settings),
    )


def _short_users(
    run: StateReader, encoder: RowEncoder, average: Mapping[str, torch.Tensor], dataset: Dataset
) -> ShortRows:
    """How far users of few ratings are believed: by the first of each block, on items that many have rated."""
    popularity_C = dataset.num_train("items").astype(np.float64)
    chosen_c = np.random.default_rng(0).choice(
        dataset.num_items, COLUMNS_FITTED, p=popularity_C / popularity_C.sum()
    )
    rows = (run.read_rows("columns", column, column + 1) for column in chosen_c.tolist())
    vectors = [column_factors(row, float(str(run.values["scale"])))[0] for row in rows]
    return fit_short_rows(
        encoder,
        torch.cat(vectors),
        average["vector"],
        average["bias"],
        _first_rows(dataset),
        dataset.num_train("users"),
    )


def _first_rows(dataset: Dataset) -> Iterator[Csr]:
    """Of the users of each block."""
    num_blocks, num_columns = len(dataset.block_files("users")), dataset.num_items
    for shard in range(num_blocks):
        block = dataset.block("users", shard)
        part = slice_rows(block, 0, min(block.num_rows, -(-ROWS_FITTED // num_blocks)))
        yield Csr.from_numpy(part.indptr, part.indices, part.values, num_columns, CPU)


def _write_rows(
    encoder: RowEncoder, side: Side, dataset: Dataset, writer: ModelWriter, progress: StageProgress
) -> dict[str, torch.Tensor]:
    """Encode all rows, block by block, a few thousand at once; returns the mean row."""
    num_rows, num_columns = dataset.num_rows(side), len(encoder.encoder_CH)
    with writer.table(side) as table:
        average = _Average(table)
        for shard, record in enumerate(dataset.block_files(side)):
            dataset.folder.checked_copy(record)
            block = dataset.block(side, shard)
            for start in range(0, block.num_rows, ROWS_AT_ONCE):
                part = slice_rows(block, start, min(start + ROWS_AT_ONCE, block.num_rows))
                rows = Csr.from_numpy(part.indptr, part.indices, part.values, num_columns, CPU)
                hidden_RH, bias_R = encoder.encode(rows)
                average.append({"vector": hidden_RH, "bias": bias_R}, rows.indptr.diff() > 0)
            progress(f"encoding {side}", block.stop, num_rows)
        return average.append_mean()


def _layers(run: StateReader, sizes: list[int]) -> list[dict[str, torch.Tensor]]:
    return [run.read_rows(f"layer_{number}", 0, units) for number, units in enumerate(sizes[1:], 1)]


def _write_encoder(run: StateReader, num_columns: int, sizes: list[int], writer: ModelWriter) -> None:
    """What encodes a new user."""
    with writer.table("encoder") as table:
        for start in range(0, num_columns, CHUNK_ROWS):
            columns = run.read_rows("columns", start, min(start + CHUNK_ROWS, num_columns))
            table.append({name: columns[name] for name in ("encoder", "column_bias")})
    with writer.table("hidden") as table:
        table.append({"bias": run.read_rows("hidden", 0, sizes[0])["bias"]})
    for number, layer in enumerate(_layers(run, sizes), 1):
        with writer.table(f"layer_{number}") as table:
            table.append({name: layer[name] for name in ("weight", "bias")})
