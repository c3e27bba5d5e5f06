"""Export an AutoRec as a bilinear model: hidden states of rows on one side, decoder rows of columns on the other.

score = mean + row_bias + column_bias + hidden . column_vector     (see families/autorec/network/network.py)

H hidden units, R rows of a piece, C columns. Rows are items in an item-AutoRec, users in a user-AutoRec.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.checkpoint.state import StateReader
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.loader import slice_rows
from recsys_dist.dataset.manifest import Side
from recsys_dist.families.autorec.network.encoder import Baseline, InputForm, RowEncoder, column_factors
from recsys_dist.families.autorec.network.hidden_layers import Layer
from recsys_dist.families.autorec.serving.facts import AutorecFacts, EncodeFoldIn, RidgeFoldIn
from recsys_dist.families.autorec.serving.short_rows import ShortRows, fit_short_rows
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.state import AutorecState
from recsys_dist.kernels.sparse import Csr
from recsys_dist.model_folder.tables import CHUNK_ROWS, TableWriter
from recsys_dist.model_folder.writer import ModelWriter
from recsys_dist.progress import Progress

ROWS_AT_ONCE = 4096
ROWS_FITTED, COLUMNS_FITTED = 1000, 256
"""Approximate size of the sample that short_rows.py is fitted on."""
CPU = torch.device("cpu")


def write_autorec(
    run: StateReader, settings: AutorecSettings, dataset: Dataset, writer: ModelWriter, progress: Progress
) -> AutorecFacts:
    """Write the tables of an AutoRec; returns its facts for model.json."""
    rows, saved = settings.orientation, AutorecState.of(run.values)
    columns: Side = "users" if rows == "items" else "items"
    popular_c = _popular(dataset, columns)
    vector_cH = _write_columns(run, columns, popular_c, saved.scale, dataset, writer, progress)
    encoder = _encoder(run, settings, saved, dataset.num_rows(columns))
    average, some_rows = _write_rows(encoder, rows, dataset, writer, progress)
    fold_in: EncodeFoldIn | RidgeFoldIn
    if rows == "users":
        _write_encoder(run, dataset.num_items, settings.hidden, writer)
        short = fit_short_rows(
            encoder, vector_cH, average["vector"], average["bias"], some_rows, dataset.num_train("users")
        )
        fold_in = _encode_fold_in(settings, saved, short)
    else:
        fold_in = RidgeFoldIn(regularization=saved.regularization, column_shrinkage=saved.column_shrinkage)
    return AutorecFacts(offset=saved.mean, output_activation=settings.output_activation, fold_in=fold_in)


def _encode_fold_in(settings: AutorecSettings, saved: AutorecState, short: ShortRows) -> EncodeFoldIn:
    return EncodeFoldIn(
        hidden_activation=settings.hidden_activation,
        centring=settings.centring,
        mean=saved.mean,
        scale=saved.scale,
        row_shrinkage=saved.row_shrinkage,
        implicit_input=saved.implicit_input,
        length_normalization=saved.length_normalization,
        mean_length=saved.mean_length,
        short_length=short.length,
        short_pull=short.pull,
    )


@dataclass
class _Average:
    """Writes rows and accumulates the mean of rated rows, which is the best guess for unrated rows."""

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
        """Append the mean row to the table and return it."""
        mean = {name: (total / self.count).float() for name, total in self.totals.items()}
        self.table.append({name: row[None] for name, row in mean.items()})
        return mean


def _popular(dataset: Dataset, side: Side) -> NDArray[np.int64]:
    """A sorted sample of columns, drawn in proportion to their ratings."""
    share_C = dataset.num_train(side) / dataset.num_train(side).sum()
    return np.sort(np.random.default_rng(0).choice(len(share_C), COLUMNS_FITTED, p=share_C))


def _write_columns(
    run: StateReader,
    side: Side,
    wanted_c: NDArray[np.int64],
    scale: float,
    dataset: Dataset,
    writer: ModelWriter,
    progress: Progress,
) -> torch.Tensor:
    """Write all vectors and biases; returns the vectors of the columns `wanted_c`."""
    wanted = []
    num_columns = dataset.num_rows(side)
    is_rated = torch.from_numpy(dataset.num_train(side) > 0)
    with writer.table(side) as table:
        average = _Average(table)
        for start in range(0, num_columns, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, num_columns)
            vector_RH, bias_R = column_factors(run.read_rows("columns", start, stop), scale)
            average.append({"vector": vector_RH, "bias": bias_R}, is_rated[start:stop])
            here_c = wanted_c[(wanted_c >= start) & (wanted_c < stop)] - start
            wanted.append(vector_RH[torch.from_numpy(here_c)])
            progress(f"merging {side}", stop, num_columns)
        average.append_mean()
    return torch.cat(wanted)


def _encoder(run: StateReader, settings: AutorecSettings, saved: AutorecState, num_columns: int) -> RowEncoder:
    columns = run.read_rows("columns", 0, num_columns)
    form = InputForm(settings.centring, saved.implicit_input, saved.length_normalization, saved.mean_length)
    baseline = Baseline(saved.mean, columns["column_bias"], saved.scale, saved.row_shrinkage, form)
    hidden_bias_H = run.read_rows("hidden", 0, settings.hidden[0])["bias"]
    layers = [Layer(**layer) for layer in _layers(run, settings.hidden)]
    return RowEncoder(baseline, columns["encoder"], hidden_bias_H, layers, settings.hidden_activation)


def _write_rows(
    encoder: RowEncoder, side: Side, dataset: Dataset, writer: ModelWriter, progress: Progress
) -> tuple[dict[str, torch.Tensor], list[Csr]]:
    """Encode all rows, a few thousand at a time; returns the mean row and the first rows of each block."""
    num_rows, num_columns = dataset.num_rows(side), len(encoder.encoder_CH)
    first_rows, num_first = [], -(-ROWS_FITTED // len(dataset.block_files(side)))
    with writer.table(side) as table:
        average = _Average(table)
        for shard in range(len(dataset.shards(side))):
            block = dataset.block(side, shard)
            for start in range(0, block.num_rows, ROWS_AT_ONCE):
                part = slice_rows(block, start, min(start + ROWS_AT_ONCE, block.num_rows))
                rows = Csr.from_numpy(part.indptr, part.indices, part.values, num_columns, CPU)
                if start == 0:
                    first_rows.append(rows.rows(0, min(num_first, rows.num_rows)))
                hidden_RH, bias_R = encoder.encode(rows)
                average.append({"vector": hidden_RH, "bias": bias_R}, rows.indptr.diff() > 0)
            progress(f"encoding {side}", block.stop, num_rows)
        return average.append_mean(), first_rows


def _layers(run: StateReader, sizes: Sequence[int]) -> list[dict[str, torch.Tensor]]:
    return [run.read_rows(f"layer_{number}", 0, units) for number, units in enumerate(sizes[1:], 1)]


def _write_encoder(run: StateReader, num_columns: int, sizes: Sequence[int], writer: ModelWriter) -> None:
    """Write the encoder for fold-in."""
    with writer.table("encoder") as table:
        for start in range(0, num_columns, CHUNK_ROWS):
            columns = run.read_rows("columns", start, min(start + CHUNK_ROWS, num_columns))
            table.append({name: columns[name] for name in ("encoder", "column_bias")})
    with writer.table("hidden") as table:
        table.append({"bias": run.read_rows("hidden", 0, sizes[0])["bias"]})
    for number, layer in enumerate(_layers(run, sizes), 1):
        with writer.table(f"layer_{number}") as table:
            table.append({name: layer[name] for name in ("weight", "bias")})
