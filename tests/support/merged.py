"""Saved runs with known numbers, and the model folders that they merge into."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.search import AutorecSearch, first_choice
from recsys_dist.families.autorec.training.state import AutorecState
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.search import Search
from recsys_dist.families.mf.training.state import MfState, PriorState
from recsys_dist.merging import write_model
from recsys_dist.model_folder.manifest import ModelManifest
from recsys_dist.model_folder.writer import new_folder
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
    priors: dict[str, dict[str, Any]] = {}
    for side in SIDES:
        covariance = random_covariances(rng, dataset.num_rows(side), n)
        tables[side] = {
            "mean": torch.from_numpy(rng.normal(0, 0.5, (dataset.num_rows(side), n)).astype(np.float32)),
            "covariance": torch.from_numpy(covariance[:, *upper].astype(np.float32)),
        }
        mean = rng.normal(0, 0.2, n).tolist()
        priors[side] = {"mean": mean, "covariance": random_covariances(rng, 1, n)[0].tolist()}
    has_precisions = {"users": noise in {"users", "both"}, "items": noise == "both"}
    has_constraints = {"users": constrained in {"items", "both"}, "items": constrained in {"users", "both"}}
    for side in SIDES:
        if posterior == "diagonal":
            diagonal = np.flatnonzero(upper[0] == upper[1])
            tables[side]["variance"] = tables[side].pop("covariance")[:, diagonal].contiguous()
        shape = (dataset.num_rows(side), n)
        if has_precisions[side]:
            tables[side]["precision"] = torch.from_numpy(rng.gamma(4.0, 0.25, shape[0]).astype(np.float32))
        if has_constraints[side]:
            tables[side]["constraint"] = torch.from_numpy(rng.normal(0, 0.2, shape).astype(np.float32))
        priors[side]["precision_dof"] = PRECISION_DOF[side] if has_precisions[side] else None
    values = MfState(
        epoch=3,
        mu=dataset.manifest.rating.mean,
        noise_variance=NOISE_VARIANCE,
        unit_variance=1.0,
        search=Search.start(MfSettings(factors=factors), can_judge=False),
        user_prior=PriorState(**priors["users"]),
        item_prior=PriorState(**priors["items"]),
        staying="users",
        staying_sums=(0.0,),
    ).model_dump(mode="json")
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
    choice = first_choice(AutorecSettings.model_validate(config["model"]))
    values = AutorecState(
        epoch=3,
        step=0,
        sums=((0.0, 0.0, 0.0),),
        optimizer={},
        mean=dataset.manifest.rating.mean,
        scale=0.8,
        row_shrinkage=2.0,
        column_shrinkage=5.0,
        search=AutorecSearch(phase="finishing", choice=choice),
        regularization=choice.regularization,
        implicit_input=choice.implicit_input,
        length_normalization=0.0,
        mean_length=1.0,
    ).model_dump(mode="json")
    return SavedRun(tables, values, config, {"dataset_digest": dataset.digest})


def write_merged(run: SavedRun, dataset: Dataset, path: Path | str) -> ModelManifest:
    with new_folder(str(path)) as folder:
        return write_model(run, dataset, folder, lambda _stage, _done, _total: None)


def rated_by(ratings: np.ndarray, user: int) -> tuple[list[str], np.ndarray]:
    """Raw ids and ratings of the items that a user rated, from `train_matrix`."""
    items = np.flatnonzero(~np.isnan(ratings[user]))
    return [f"i{item}" for item in items], ratings[user, items]


def train_matrix(dataset: Dataset) -> np.ndarray:
    """Train ratings as a dense matrix, NaN where there is none."""
    dense = np.full((dataset.num_users, dataset.num_items), np.nan)
    for shard in range(len(dataset.shards("users"))):
        train = dataset.ratings("train", shard)
        dense[train.user_index, train.item_index] = train.rating
    return dense
