"""Export an EASE: checkpoint in, the table of a model folder out (facts.py)."""

from __future__ import annotations

from recsys_dist.checkpoint.state import SavedRun
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import CheckpointError
from recsys_dist.families.ease.serving.facts import EaseFacts
from recsys_dist.families.ease.training.state import EaseState
from recsys_dist.families.targets import Target
from recsys_dist.model_folder.writer import ModelWriter
from recsys_dist.progress import Progress

ROWS_AT_ONCE = 4096


def write_ease(run: SavedRun, dataset: Dataset, out: ModelWriter, progress: Progress) -> EaseFacts:
    """Write the weights of each item. Raises `CheckpointError` if the run was stopped before it had them."""
    saved = EaseState.of(run.values)
    if saved.method is None or saved.regularization is None or saved.total is None or saved.target is None:
        raise CheckpointError("the run was stopped before its weights were solved; train it to its end first")
    with out.table("items") as table:
        for start in range(0, dataset.num_items, ROWS_AT_ONCE):
            stop = min(start + ROWS_AT_ONCE, dataset.num_items)
            table.append(run.read_rows("items", start, stop))
            progress("merging items", stop, dataset.num_items)
    return EaseFacts(
        target=Target.of(saved.target, dataset.manifest),
        regularization=saved.regularization,
        method=saved.method,
        kept_share=saved.kept_share,
    )
