"""Blending from Python: the function that the command `blend` calls, with datasets and models as arguments."""

from __future__ import annotations

from collections.abc import Sequence

from recsys_dist.api.model import Model, load_model
from recsys_dist.blending.blend import Goal
from recsys_dist.blending.blend import blend as blend_folders
from recsys_dist.dataset.dataset import Dataset


def blend(
    models: Sequence[Model | str],
    dataset: Dataset | str,
    output: str,
    goal: Goal = "lists",
    weights: Sequence[float] | None = None,
    device: str = "cpu",
) -> Model:
    """Blend models, or model folders, of one dataset into a new model folder `output`; returns the blend.

    See `recsys_dist.blending.blend.blend`, also for the errors.
    """
    folders = [one.folder.folder.url if isinstance(one, Model) else one for one in models]
    url = dataset.folder.url if isinstance(dataset, Dataset) else dataset
    blend_folders(folders, url, output, goal, weights, device)
    return load_model(output, device)
