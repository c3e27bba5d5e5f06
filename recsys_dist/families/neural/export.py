"""Export a neural model: checkpoint in, tables of a model folder out.

users, items        the tables of the module, by name; the last row is for unknown users or items, the mean of the
                    rows with a train rating
rest, buffers       all other parameters and buffers, as one vector `value` each
"""

from __future__ import annotations

import torch

from recsys_dist.checkpoint.state import SavedRun
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.families.neural.state import PairState
from recsys_dist.model_folder.tables import CHUNK_ROWS
from recsys_dist.model_folder.writer import ModelWriter
from recsys_dist.progress import Progress


def write_pair_model(run: SavedRun, dataset: Dataset, out: ModelWriter, progress: Progress) -> None:
    """Write the tables of a module."""
    for side in SIDES:
        _write_side(run, side, dataset, out, progress)
    saved = PairState.of(run.values)
    for name, size in (("rest", saved.rest), ("buffers", saved.buffers)):
        if size:
            with out.table(name) as table:
                table.append(run.read_rows(name, 0, size))


def _write_side(run: SavedRun, side: Side, dataset: Dataset, out: ModelWriter, progress: Progress) -> None:
    num_rows, is_rated_R = dataset.num_rows(side), torch.from_numpy(dataset.num_train(side) > 0)
    totals: dict[str, torch.Tensor] = {}
    with out.table(side) as table:
        for start in range(0, num_rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, num_rows)
            rows = run.read_rows(side, start, stop)
            table.append(rows)
            for name, tensor in rows.items():
                total = tensor[is_rated_R[start:stop]].double().sum(0)
                totals[name] = totals[name] + total if name in totals else total
            progress(f"merging {side}", stop, num_rows)
        count = int(is_rated_R.sum())
        table.append({name: (total / count).float()[None] for name, total in totals.items()})
