"""Saved runs with known numbers, and the model folders that they merge into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys_dist.dataset.dataset import SIDES, Dataset
from recsys_dist.merge import write_model
from recsys_dist.model_folder.folder import ModelManifest, new_folder
from tests.support.states import SavedRun

NOISE_VARIANCE = 0.7
PRECISION_DOF = {"users": 5.0, "items": 1.5}


def random_covariances(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    root = rng.normal(0, 0.3, (count, n, n))
    return root @ root.transpose(0, 2, 1) + 0.05 * np.eye(n)


def mf_run(
    dataset: Dataset,
    factors: int = 3,
    posterior: str = "full",
    seed: int = 0,
    noise: str = "shared",
    constrained: str = "none",
) -> SavedRun:
    rng, n = np.random.default_rng(seed), factors + 1
    upper = np.triu_indices(n)
    tables: dict[str, dict[str, torch.Tensor]] = {}
    values: dict[str, Any] = {"mu": dataset.manifest.rating.mean, "noise_variance": NOISE_VARIANCE, "epoch": 3}
    for side in SIDES:
        covariance = random_covariances(rng, dataset.num_rows(side), n)
        tables[side] = {
            "mean": torch.from_numpy(rng.normal(0, 0.5, (dataset.num_rows(side), n)).astype(np.float32)),
            "covariance": torch.from_numpy(covariance[:, *upper].astype(np.float32)),
        }
        values[f"{side[:-1]}_prior_mean"] = rng.normal(0, 0.2, n).tolist()
        values[f"{side[:-1]}_prior_covariance"] = random_covariances(rng, 1, n)[0].tolist()
    has_precisions = {"users": noise in {"users", "both"}, "items": noise == "both"}
    has_patterns = {"users": constrained in {"items", "both"}, "items": constrained in {"users", "both"}}
    for side in SIDES:
        if posterior == "diagonal":
            diagonal = np.flatnonzero(upper[0] == upper[1])
            tables[side]["variance"] = tables[side].pop("covariance")[:, diagonal].contiguous()
        shape = (dataset.num_rows(side), n)
        if has_precisions[side]:
            tables[side]["precision"] = torch.from_numpy(rng.gamma(4.0, 0.25, shape[0]).astype(np.float32))
        if has_patterns[side]:
            tables[side]["pattern"] = torch.from_numpy(rng.normal(0, 0.2, shape).astype(np.float32))
        values[f"{side[:-1]}_precision_dof"] = PRECISION_DOF[side] if has_precisions[side] else None
    config = {"model": {"kind": "mf", "factors": factors, "posterior": posterior}, "dataset": dataset.folder.url}
    return SavedRun(tables, values, config, {"dataset_digest": dataset.digest})


def autorec_run(dataset: Dataset, orientation: str, hidden: int = 4, seed: int = 0, **settings: Any) -> SavedRun:
    rng = np.random.default_rng(seed)
    columns = dataset.num_users if orientation == "items" else dataset.num_items

    def normal(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(0, 0.3, shape).astype(np.float32))

    tables = {
        "columns": {
            "encoder": normal(columns, hidden),
            "decoder": normal(columns, hidden),
            "output_bias": normal(columns),
            "column_bias": normal(columns),
        },
        "hidden": {"bias": normal(hidden)},
    }
    model = {
        "kind": "autorec",
        "orientation": orientation,
        "hidden": hidden,
        "hidden_activation": "sigmoid",
        "output_activation": "identity",
        "regularization": 2.0,
    }
    config = {"model": model | settings, "dataset": dataset.folder.url}
    values = {"epoch": 3, "mean": dataset.manifest.rating.mean, "scale": 0.8}
    values |= {"row_shrinkage": 2.0, "column_shrinkage": 5.0}
    return SavedRun(tables, values, config, {"dataset_digest": dataset.digest})


def write_merged(run: SavedRun, dataset: Dataset, path: Path | str) -> ModelManifest:
    with new_folder(str(path)) as folder:
        return write_model(run, dataset, folder, lambda _stage, _done, _total: None)


def train_matrix(dataset: Dataset) -> np.ndarray:
    """Train ratings as a dense matrix, NaN where there is none."""
    dense = np.full((dataset.num_users, dataset.num_items), np.nan)
    for shard in range(len(dataset.shards("users"))):
        train = dataset.ratings("train", shard)
        dense[train.user_index, train.item_index] = train.rating
    return dense
