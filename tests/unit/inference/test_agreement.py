"""What the merged model predicts is what training measured; and no tensor is made off its device."""

from __future__ import annotations

import pytest
import torch

from recsys_dist import load_model
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.inference.evaluate import evaluate
from recsys_dist.training.autorec_trainer import AutorecTrainer
from recsys_dist.training.config import AutorecSettings, MfSettings
from recsys_dist.training.em_trainer import EmTrainer
from recsys_dist.training.trainer import Trainer
from tests.merged import SavedRun, mf_run, write_merged
from tests.prepared import small_dataset

SETTINGS = {
    "mf full": MfSettings(kind="mf", factors=3),
    "mf point": MfSettings(kind="mf", factors=3, posterior="point", prior="fixed"),
    "item-AutoRec": AutorecSettings(kind="autorec", hidden=8, regularization=5),
    "user-AutoRec": AutorecSettings(kind="autorec", hidden=8, regularization=5, orientation="users"),
    "item-AutoRec, sigmoid": AutorecSettings(
        kind="autorec", hidden=8, regularization=5, output_activation="sigmoid", hidden_activation="tanh"
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_merged_model_has_the_validation_error_of_training(tmp_path, name):
    settings, alone = SETTINGS[name], Collectives(World.single())
    dataset = small_dataset(tmp_path / "dataset")
    trainer: Trainer = (
        EmTrainer(dataset, settings, seed=0, collectives=alone)
        if isinstance(settings, MfSettings)
        else AutorecTrainer(dataset, settings, epochs=3, seed=0, collectives=alone)
    )
    for _ in range(3):
        trainer.train_epoch(lambda: False)
    measured, state = trainer.validate(), trainer.state()
    tables = {
        table: {key: tensor.detach() for key, tensor in rows.tensors.items()}
        for table, rows in state.tables.items()
    }
    config = {"model": settings.model_dump()}

    write_merged(
        SavedRun(tables, state.values, config, {"dataset_digest": dataset.digest}), dataset, tmp_path / "model"
    )
    report = evaluate(str(tmp_path / "model"), str(tmp_path / "dataset"), "valid")

    assert report["count"] == measured.count
    assert report["cold_users"]["count"] == report["cold_items"]["count"] == 0
    assert report["rmse"] == pytest.approx(measured.rmse, rel=1e-6)
    assert report["mae"] == pytest.approx(measured.mae, rel=1e-6)
    assert measured.rmse < report["baselines"]["global_mean"]["rmse"]


def test_every_tensor_is_made_on_the_device_of_the_model(tmp_path):
    dataset = small_dataset(tmp_path / "dataset")
    torch.set_default_device("meta")
    try:
        write_merged(mf_run(dataset), dataset, tmp_path / "model")
        evaluate(str(tmp_path / "model"), str(tmp_path / "dataset"))
        model = load_model(str(tmp_path / "model"))
        assert model.recommend("u1", 3)[0].stds.shape == (3,)
        assert model.fold_in(["i1"], [4]).predict(["i2"], return_std=True)[1].shape == (1,)
    finally:
        torch.set_default_device(None)
