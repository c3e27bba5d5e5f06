"""Export of iALS: checkpoint in, tables of a model folder out (facts.py)."""

from __future__ import annotations

import torch

from recsys_dist.checkpoint.state import SavedRun
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import Side
from recsys_dist.families.ials.serving.facts import IalsFacts
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training.state import IalsState
from recsys_dist.families.targets import Target
from recsys_dist.model_folder.tables import CHUNK_ROWS
from recsys_dist.model_folder.writer import ModelWriter
from recsys_dist.progress import Progress


def write_ials(
    run: SavedRun, settings: IalsSettings, dataset: Dataset, out: ModelWriter, progress: Progress
) -> IalsFacts:
    """Write the vectors of users and items; returns the facts for the manifest."""
    saved = IalsState.of(run.values)
    _write_side(run, "users", dataset, out, progress)
    _write_side(run, "items", dataset, out, progress)
    target = Target.of(saved.search.target(settings), dataset.manifest)
    return IalsFacts(target=target, penalty=saved.search.penalty(settings))


def _write_side(run: SavedRun, side: Side, dataset: Dataset, out: ModelWriter, progress: Progress) -> None:
    num_rows, num_trained = dataset.num_rows(side), 0
    with out.table(side) as table:
        for start in range(0, num_rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, num_rows)
            vector_RK = run.read_rows(side, start, stop)["vector"]
            table.append(_rows(vector_RK))
            if start == 0:
                total_K = vector_RK.new_zeros(vector_RK.shape[1], dtype=torch.float64)
            total_K += vector_RK.double().sum(0)
            # Rows without interactions have zero vectors.
            num_trained += int(vector_RK.any(1).sum())
            progress(f"merging {side}", stop, num_rows)
        if side == "items":
            total_K.zero_()
        table.append(_rows((total_K / max(1, num_trained)).float()[None]))


def _rows(vector_RK: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"vector": vector_RK, "bias": vector_RK.new_zeros(len(vector_RK))}
