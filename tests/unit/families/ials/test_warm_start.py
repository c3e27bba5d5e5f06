from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run import run_training
from recsys_dist.training.warm_start import warm_start
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.states import single_collectives

KNOWN = {"users": 100, "items": 50}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Datasets `base` and `grown`, which has grown from it by users, items and ratings."""
    folder = tmp_path_factory.mktemp("data")
    user, item, rating = low_rank_ratings(130, 60, 4000)
    split = np.zeros(len(user), int)
    old = (user < KNOWN["users"]) & (item < KNOWN["items"])
    base = write_dataset(folder / "base", user[old], item[old], rating[old], split[old], *KNOWN.values())
    grown = write_dataset(folder / "grown", user, item, rating, split, 130, 60)
    ancestor = {"digest": base.digest, "num_users": 100, "num_items": 50, "num_held_out": 0}
    tree = json.loads(grown.folder.read_bytes(MANIFEST))
    grown.folder.write_bytes(MANIFEST, json.dumps({**tree, "grown_from": [ancestor]}).encode())
    return folder


@pytest.mark.parametrize("factors", [4, 70])
def test_a_grown_dataset_is_trained_on_from_where_the_other_run_stood(folder, tmp_path, factors):
    def config(dataset, name, epochs, **keys):
        model = {
            "kind": "ials",
            "factors": factors,
            "regularization": 0.01,
            "unobserved_weight": 0.1,
            "tolerance": 0,
        }
        tree = {"dataset": str(folder / dataset), "run_dir": str(tmp_path / name), "model": model, **keys}
        return TrainConfig.model_validate({**tree, "training": {"epochs": epochs}})

    def trained(settings):
        run_training(settings, single_collectives(), lambda: False)
        return find_checkpoint(Folder(settings.run_dir))

    first = trained(config("base", "first", 12))
    settings = config("grown", "second", 1, start_from=str(tmp_path / "first"))
    start = warm_start(settings, Dataset.open(settings.dataset))
    assert start is not None
    for side, known in KNOWN.items():
        rows = start.read_rows(side, known - 2, known + 3)["vector"]
        assert torch.equal(rows[:2], first.read_rows(side, known - 2, known)["vector"])
        assert rows.shape == (5, factors)
        assert not rows[2:].any()
    objective = {
        name: trained(config("grown", name, 1, **keys)).values["objective"]
        for name, keys in {"second": {"start_from": str(tmp_path / "first")}, "scratch": {}}.items()
    }
    assert objective["second"] < objective["scratch"]
