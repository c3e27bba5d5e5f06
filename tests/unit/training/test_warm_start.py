"""A run that begins with what another has learnt, on a dataset that has grown meanwhile."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST
from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.search import AutorecSearch, Choice, first_choice
from recsys_dist.families.autorec.training.warm_start import AutorecStart
from recsys_dist.families.mf.training import trainer as trainer_module
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.storage.folder import Folder
from recsys_dist.training import run
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.warm_start import warm_start
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.states import single_collectives

KNOWN = (100, 50)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """A dataset, and one that has grown from it by users, items and ratings."""
    folder = tmp_path_factory.mktemp("data")
    user, item, rating = low_rank_ratings(130, 60, 4000)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.9, 0, 2)
    old = (user < KNOWN[0]) & (item < KNOWN[1]) & (np.random.default_rng(2).random(len(user)) < 0.9)
    base = write_dataset(folder / "base", user[old], item[old], rating[old], split[old], *KNOWN)
    grown = write_dataset(folder / "grown", user, item, rating, split, 130, 60)
    tree = json.loads(grown.folder.read_bytes(MANIFEST))
    ancestor = {"digest": base.digest, "num_users": KNOWN[0], "num_items": KNOWN[1], "num_held_out": 0}
    grown.folder.write_bytes(MANIFEST, json.dumps({**tree, "grown_from": [ancestor]}).encode())
    leaky = json.dumps({**tree, "grown_from": [{**ancestor, "num_held_out": 7}]}).encode()
    return folder, leaky


def config(folder, dataset, run_dir, epochs=3, **keys):
    model = {
        "kind": "mf",
        "factors": 4,
        "constrained": "both",
        "noise": "both",
        "tolerance": 0,
        **keys.pop("model", {}),
    }
    tree = {"dataset": str(folder / dataset), "run_dir": str(run_dir), "model": model, **keys}
    tree["training"] = {"epochs": epochs, "patience": None}
    return TrainConfig.model_validate(tree)


def train(settings):
    run.run_training(settings, single_collectives(), lambda: False)
    return find_checkpoint(Folder(settings.run_dir))


def trainer_of(settings):
    dataset, epochs = Dataset.open(settings.dataset), settings.training.epochs
    setup = TrainingSetup(dataset, settings.model, epochs, settings.seed, None, single_collectives())
    return settings.family.trainer(setup)


def error(checkpoint):
    return checkpoint.values["noise_variance"]


@pytest.mark.parametrize("posterior", ["full", "diagonal", "point"])
def test_a_grown_dataset_is_trained_on_from_where_the_other_run_stood(datasets, tmp_path, posterior):
    folder, _ = datasets
    forms = {"constrained": "none", "noise": "shared", "prior": "fixed"} if posterior == "point" else {}
    model = {"posterior": posterior, **forms}
    first = train(config(folder, "base", tmp_path / "first", epochs=30, model=model))
    settings = config(folder, "grown", tmp_path / "second", model=model, start_from=str(tmp_path / "first"))
    state = warm_start(settings, Dataset.open(settings.dataset))
    for table, known in zip(("users", "items"), KNOWN, strict=True):
        num_rows = 130 if table == "users" else 60
        assert state is not None
        whole, part = state.read_rows(table, 0, num_rows), state.read_rows(table, known - 2, known + 3)
        old = first.read_rows(table, 0, known)
        for name, rows in whole.items():
            assert torch.equal(rows[:known], old[name])
            assert torch.equal(rows[known - 2 : known + 3], part[name])
        prior = torch.tensor(first.values[f"{table[:-1]}_prior"]["mean"]).float()
        assert torch.equal(whole["mean"][known:], prior.expand(num_rows - known, -1))
    second = train(settings)
    assert second.step == 3
    assert second.tables["users"].num_rows == 130
    scratch = train(config(folder, "grown", tmp_path / "scratch", model=model))
    long = train(config(folder, "grown", tmp_path / "long", epochs=30, model=model))
    # Three epochs from there come nearer to the end than three from nowhere.
    assert abs(error(second) - error(long)) < 0.5 * abs(error(scratch) - error(long))
    # And a second start of the same run goes on with itself.
    assert (
        train(settings.model_copy(update={"training": config(folder, "grown", "x", epochs=4).training})).step == 4
    )


def autorec(folder, dataset, run_dir, epochs, **keys):
    model = {"kind": "autorec", "hidden": [6], "batch_ratings": 300, **keys.pop("model", {})}
    tree = {"dataset": str(folder / dataset), "run_dir": str(run_dir), "model": model, **keys}
    return TrainConfig.model_validate({**tree, "training": {"epochs": epochs, "patience": None}})


@pytest.mark.parametrize("orientation", ["users", "items"])
def test_an_autorec_goes_on_with_the_columns_it_knows_and_begins_with_the_others(datasets, tmp_path, orientation):
    folder, _ = datasets
    given = {"orientation": orientation, "regularization": 5.0, "input_dropout": 0.0, "implicit_input": 1.0}
    first = train(autorec(folder, "base", tmp_path / "first", 30, model=given))
    start = {"start_from": str(tmp_path / "first"), "model": given}
    settings = autorec(folder, "grown", tmp_path / "second", 3, **start)
    trainer = trainer_of(settings)
    fresh = trainer.state()
    begun = {name: tensor.clone() for name, tensor in fresh.tables["columns"].tensors.items()}
    learnt = warm_start(settings, Dataset.open(settings.dataset))
    assert learnt is not None
    trainer.load_state(learnt)
    state = trainer.state()
    known = KNOWN[0 if orientation == "items" else 1]
    old = first.read_rows("columns", 0, known)
    # Ranks with columns of their own, of which some or all are new.
    assert torch.equal(learnt.read_rows("columns", known - 2, known + 3)["encoder"], old["encoder"][-2:])
    assert len(learnt.read_rows("columns", known + 1, known + 3)["encoder"]) == 0
    for name in ("encoder", "decoder", "output_bias"):
        assert torch.equal(state.tables["columns"].tensors[name][:known], old[name])
        assert torch.equal(state.tables["columns"].tensors[name][known:], begun[name][known:])
    assert torch.equal(state.tables["hidden"].tensors["bias"], first.read_rows("hidden", 0, 6)["bias"])
    assert (state.values["epoch"], state.values["step"], state.values["optimizer"]) == (0, 0, {"steps": 0})
    assert not any(tensor.any() for tensor in state.tables["optimizer_columns"].tensors.values())
    train(settings)
    train(autorec(folder, "grown", tmp_path / "scratch", 3, model=given))
    # How it is trained may change from one run to the next, what it is may not.
    other = {"learning_rate": 0.001, "batch_ratings": 100, "optimizer": "rowwise_rmsprop"}
    train(autorec(folder, "grown", tmp_path / "third", 1, start_from=start["start_from"], model=given | other))
    with pytest.raises(ConfigError, match=r"model\.tied is true, but .*first was trained with false"):
        train(
            autorec(
                folder, "grown", tmp_path / "no", 1, start_from=start["start_from"], model=given | {"tied": True}
            )
        )
    losses = [
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1])["train_rmse"]
        for name in ("second", "scratch")
    ]
    assert losses[0] < losses[1]


def test_an_autorec_keeps_what_the_other_run_found_out(datasets, tmp_path):
    folder, _ = datasets
    first = train(autorec(folder, "base", tmp_path / "first", 1))
    found = Choice(regularization=50.0, input_dropout=0.8, implicit_input=4.0)
    search = AutorecSearch(phase="trying", choice=first_choice(AutorecSettings(kind="autorec")), best=found)
    searched: Any = SimpleNamespace(
        values={**first.values, "search": search.model_dump(mode="json")},
        tables=first.tables,
        read_rows=first.read_rows,
    )
    settings = autorec(folder, "grown", tmp_path / "second", 1, start_from="first")
    trainer = trainer_of(settings)
    trainer.load_state(AutorecStart(searched))
    values = trainer.state().values
    assert not trainer.is_searching
    assert (values["regularization"], values["implicit_input"]) == (found.regularization, found.implicit_input)


def test_the_number_of_factors_is_that_of_the_run_it_starts_from(datasets, tmp_path, monkeypatch):
    """Though the grown dataset would get another one."""
    folder, _ = datasets
    first = train(config(folder, "base", tmp_path / "first", model={"factors": "auto"}))
    begun = first.read_rows("users", 0, 1)["mean"].shape[1] - 1
    monkeypatch.setattr(trainer_module, "num_factors", lambda _settings, _manifest: begun // 2)
    second = config(
        folder, "grown", tmp_path / "second", start_from=str(tmp_path / "first"), model={"factors": "auto"}
    )
    assert train(second).read_rows("users", 0, 1)["mean"].shape[1] - 1 == begun
    assert train(second).step == 3


def test_a_number_of_factors_below_that_of_a_new_run_is_told(datasets, tmp_path, monkeypatch):
    folder, _ = datasets
    begun = train(config(folder, "base", tmp_path / "first", model={"factors": "auto"}))
    number = begun.read_rows("users", 0, 1)["mean"].shape[1] - 1
    start = {"start_from": str(tmp_path / "first"), "model": {"factors": "auto"}}
    notes = {}
    for usual in (number, 2 * number):
        monkeypatch.setattr(trainer_module, "num_factors", lambda _settings, _manifest, usual=usual: usual)
        run_dir = tmp_path / f"second-{usual}"
        train(config(folder, "grown", run_dir, **start))
        notes[usual] = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[0]).get("note")
    assert notes[number] is None
    assert (
        f"keeping the {number} factors of start_from, where a new run begins with {2 * number}"
        in notes[2 * number]
    )


def test_the_number_that_the_other_run_has_come_to_may_be_given(datasets, tmp_path):
    folder, _ = datasets
    first = train(config(folder, "base", tmp_path / "first", model={"factors": "auto"}))
    chosen = first.read_rows("users", 0, 1)["mean"].shape[1] - 1
    start = {"start_from": str(tmp_path / "first")}
    with pytest.raises(ConfigError, match=rf"factors is {chosen + 1}, but .*first was trained with {chosen}; use"):
        train(config(folder, "grown", tmp_path / "run", model={"factors": chosen + 1}, **start))
    again = train(config(folder, "grown", tmp_path / "run", model={"factors": chosen}, **start))
    assert again.read_rows("users", 0, 1)["mean"].shape[1] - 1 == chosen


def test_what_does_not_fit_is_told(datasets, tmp_path):
    folder, leaky = datasets
    train(config(folder, "base", tmp_path / "first", epochs=1))
    start = {"start_from": str(tmp_path / "first")}
    with pytest.raises(ConfigError, match=r"model\.factors is 5, but .*first was trained with 4; use that"):
        train(config(folder, "grown", tmp_path / "run", model={"factors": 5}, **start))
    train(config(folder, "grown", tmp_path / "other", epochs=1))
    with pytest.raises(ConfigError, match=r"was trained on a dataset that .*base has not grown from"):
        train(config(folder, "base", tmp_path / "run", start_from=str(tmp_path / "other")))
    (folder / "grown" / MANIFEST).write_bytes(leaky)
    with pytest.raises(
        ConfigError, match=r"7 ratings that .*first was trained on are held out for validation or testing"
    ):
        train(config(folder, "grown", tmp_path / "run", **start))
