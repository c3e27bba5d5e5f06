"""What the merged model predicts is what training measured; and no tensor is made off its device."""

from __future__ import annotations

import pytest
import torch

from recsys_dist import load_model
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.trainer import AutorecTrainer
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.trainer import EmTrainer
from recsys_dist.inference.criterion import RANKINGS
from recsys_dist.protocols.trainer import Trainer
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset
from tests.support.states import saved

SETTINGS: dict[str, MfSettings | AutorecSettings] = {
    "mf full": MfSettings(kind="mf", factors=3, constrained="none", noise="shared"),
    "mf of another form": MfSettings(
        kind="mf", factors=3, constrained="both", constrained_regularization=2.0, noise="both"
    ),
    "mf point": MfSettings(kind="mf", factors=3, posterior="point", prior="fixed"),
    "item-AutoRec": AutorecSettings(kind="autorec", hidden=8, regularization=5),
    "user-AutoRec": AutorecSettings(kind="autorec", hidden=8, regularization=5, orientation="users"),
    "item-AutoRec, tied": AutorecSettings(
        kind="autorec", hidden=[8, 4, 8], tied=True, regularization=5, hidden_activation="tanh"
    ),
    "user-AutoRec, deep": AutorecSettings(
        kind="autorec", hidden=[8, 6, 4], regularization=5, orientation="users", hidden_activation="tanh"
    ),
    "item-AutoRec, sigmoid": AutorecSettings(
        kind="autorec", hidden=8, regularization=5, output_activation="sigmoid", hidden_activation="tanh"
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_the_merged_model_has_the_validation_error_of_training(tmp_path, name):
    settings, alone = SETTINGS[name], Collectives(World.single())
    dataset = small_dataset(tmp_path / "dataset")
    trainer: Trainer = (
        EmTrainer(dataset, settings, epochs=3, seed=0, collectives=alone)
        if isinstance(settings, MfSettings)
        else AutorecTrainer(dataset, settings, epochs=3, seed=0, collectives=alone)
    )
    for _ in range(3):
        trainer.train_epoch(lambda: False)
    measured, state = trainer.validate(), trainer.state()
    config = {"model": settings.model_dump(mode="json")}

    run = saved(state, config=config, details={"dataset_digest": dataset.digest})
    write_merged(run, dataset, tmp_path / "model")
    report = load_model(str(tmp_path / "model")).evaluate(str(tmp_path / "dataset"), "valid")

    assert report.count == measured.count
    assert report.cold_users.count == report.cold_items.count == 0
    assert report.rmse == pytest.approx(measured.rmse, rel=1e-6)
    assert report.mae == pytest.approx(measured.mae, rel=1e-6)
    assert measured.rmse < report.baselines["global_mean"].rmse
    if name.startswith("user-AutoRec"):
        assert_encoding_needs_no_training(load_model(str(tmp_path / "model")), dataset)


def assert_encoding_needs_no_training(model, dataset):
    """The ratings of a user, folded in as those of somebody new, give what training gave this user."""
    train = dataset.ratings("train", 0)
    user = train.user_index[0]
    own = train.user_index == user
    ids = {side: dataset.ids(side).to_pylist() for side in ("users", "items")}
    folded = model.fold_in([ids["items"][item] for item in train.item_index[own]], train.rating[own])
    assert folded.predict(ids["items"]) == pytest.approx(model.predict(ids["users"][user], ids["items"]), abs=1e-5)


@pytest.mark.parametrize("posterior", ["full", "diagonal"])
def test_every_tensor_is_made_on_the_device_of_the_model(tmp_path, posterior):
    dataset = small_dataset(tmp_path / "dataset")
    run = mf_run(dataset, posterior=posterior, noise="both", constrained="both")
    torch.set_default_device("meta")
    try:
        write_merged(run, dataset, tmp_path / "model")
        model = load_model(str(tmp_path / "model"), verify=True)
        model.evaluate(str(tmp_path / "dataset"))
        folded = model.fold_in(["i1"], [4])
        for rank_by in RANKINGS:
            for found in (model.recommend("u1", 3, rank_by=rank_by)[0], folded.recommend(3, rank_by=rank_by)):
                assert found.stds is not None
                assert found.stds.shape == (3,)
        assert folded.predict(["i2"], return_std=True)[1].shape == (1,)
        assert model.fold_in([], []).predict(["i2"], return_std=True)[1].shape == (1,)
        assert model.predict_probabilities("u1", "i1")[0].shape == (1, 9)
        assert len(model.similar_items("i1", 3).ids) == 3
    finally:
        torch.set_default_device(None)
