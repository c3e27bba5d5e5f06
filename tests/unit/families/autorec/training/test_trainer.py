"""AutoRec in training on one process: it learns, stops and goes on without a trace, and says when it diverges."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.checkpoint.state import TrainerState
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import TrainingError
from recsys_dist.evaluation.baselines import BiasModel
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training import optimizer as optimizer_module
from recsys_dist.families.autorec.training.trainer import AutorecTrainer
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.support.states import saved

EPOCHS = 6


def trainer_of(dataset: Dataset, epochs: int = EPOCHS, **settings: Any) -> AutorecTrainer:
    chosen = {
        "hidden": 8,
        "batch_ratings": 460,
        "regularization": 5.0,
        "learning_rate": 0.02,
        "input_dropout": 0.0,
    }
    chosen |= {"implicit_input": 0.0, **settings}
    return AutorecTrainer(
        dataset, AutorecSettings(kind="autorec", **chosen), epochs, 5, Collectives(World.single("cpu"))
    )


def train(trainer: AutorecTrainer, epochs: int = EPOCHS) -> list[float]:
    return [trainer.train_epoch(lambda: False).train.squared for _ in range(trainer.epochs_done, epochs)]


def stop_after(steps: int) -> Callable[[], bool]:
    asked: Iterator[bool] = iter([False] * steps + [True])
    return lambda: next(asked)


def assert_same_state(one: TrainerState, other: TrainerState) -> None:
    assert one.values == other.values
    for name, rows in one.tables.items():
        for key, tensor in rows.tensors.items():
            assert torch.equal(tensor, other.tables[name].tensors[key]), f"{name}.{key}"


@pytest.mark.parametrize("orientation", ["items", "users"])
@pytest.mark.parametrize("output", ["identity", "sigmoid"])
def test_it_learns_more_than_biases_know(tmp_path: Path, orientation: str, output: str) -> None:
    dataset = small_dataset(tmp_path / "data", num_users=400, num_items=150, num_ratings=25_000)
    trainer = trainer_of(
        dataset,
        30,
        hidden=16,
        batch_ratings=4000,
        regularization=30.0,
        orientation=orientation,
        output_activation=output,
    )
    biases = trainer.validate().rmse
    train(trainer, 20)
    assert trainer.validate().rmse < 0.93 * biases
    assert trainer.validate().count == dataset.manifest.num_ratings["valid"]


def test_in_bfloat16_it_learns_as_well(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data", num_users=400, num_items=150, num_ratings=25_000)
    deep: dict[str, Any] = {"hidden": [16, 12, 16], "batch_ratings": 4000, "regularization": 30.0}
    deep["hidden_activation"] = "tanh"
    exact, rounded = (trainer_of(dataset, 30, **deep, compute=name) for name in ("float32", "bfloat16"))
    biases = exact.validate().rmse
    errors, rounded_errors = train(exact, 20), train(rounded, 20)
    assert errors != rounded_errors
    assert exact.validate().rmse < 0.8 * biases
    assert rounded.validate().rmse == pytest.approx(exact.validate().rmse, rel=0.01)
    tensors = [tensor for table in rounded.state().tables.values() for tensor in table.tensors.values()]
    assert {tensor.dtype for tensor in tensors} == {torch.float32}


@pytest.mark.parametrize("orientation", ["items", "users"])
def test_it_starts_from_the_learnt_biases(tmp_path: Path, orientation: str) -> None:
    dataset = small_dataset(tmp_path / "data", num_users=400, num_items=150, num_ratings=4000)
    biases = BiasModel.fit(
        lambda: (dataset.block("users", shard) for shard in range(4)), dataset.num_users, dataset.num_items
    )
    valid = [dataset.ratings("valid", shard) for shard in range(4)]
    error = np.concatenate(
        [biases.predict(one.user_index, one.item_index).clip(1, 5) - one.rating for one in valid]
    )
    untrained = trainer_of(dataset, orientation=orientation).validate()
    assert untrained.rmse == pytest.approx(np.sqrt(np.square(error).mean()), abs=1e-4)


DROPOUT: dict[str, Any] = {"input_dropout": 0.5, "hidden_dropout": 0.2}


@pytest.mark.parametrize(
    ("epoch", "step", "settings"),
    [
        (0, 0, {}),
        (0, 1, {}),
        (3, 2, {}),
        (5, 3, {}),
        (3, 1, DROPOUT),
        (3, 0, {"optimizer": "rprop", **DROPOUT}),
        (0, 0, {"optimizer": "lbfgs"}),
        (4, 0, {"optimizer": "lbfgs"}),
        (2, 1, {"accumulation": 3}),
        (2, 1, {"hidden": [8, 6, 8], "compute": "bfloat16"}),
        (2, 1, {"hidden": [8, 6, 8], "optimizer": "rowwise_rmsprop"}),
    ],
)
def test_interrupted_and_resumed_equals_unbroken_bit_for_bit(
    tmp_path: Path, epoch: int, step: int, settings: dict[str, Any]
) -> None:
    dataset = small_dataset(tmp_path / "data")
    unbroken = trainer_of(dataset, **settings)
    errors = train(unbroken)

    stopped = trainer_of(dataset, **settings)
    train(stopped, epoch)
    assert not stopped.train_epoch(stop_after(step)).finished
    resumed = trainer_of(dataset, **settings)
    resumed.load_state(saved(stopped.state()))
    assert resumed.epochs_done == epoch
    assert train(resumed) == errors[epoch:]
    assert_same_state(resumed.state(), unbroken.state())


SEARCHING: dict[str, Any] = {
    "regularization": None,
    "input_dropout": None,
    "implicit_input": None,
    "batch_ratings": 4600,
}
SEARCH_EPOCHS = 26


def tried_by(trainer: AutorecTrainer) -> list[dict[str, float]]:
    """The settings that the search has judged so far, as the state tells them."""
    search: Any = trainer.state().values["search"]
    return search["tried"]


def test_trials_drop_hidden_units(tmp_path: Path) -> None:
    """Two trials that differ in that alone train differently, and the kept one is saved and goes on."""
    user, item, rating = low_rank_ratings(400, 200, 24_000)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.9, 0, 1)
    dataset = write_dataset(tmp_path / "data", user, item, rating, split)
    trainer = trainer_of(dataset, SEARCH_EPOCHS, hidden_dropout=None, batch_ratings=6000)
    errors = train(trainer, 9)
    assert [choice["hidden_dropout"] for choice in tried_by(trainer)] == [0.0, 0.2]
    assert errors[3:6] != errors[6:9]
    resumed = trainer_of(dataset, SEARCH_EPOCHS, hidden_dropout=None, batch_ratings=6000)
    resumed.load_state(saved(trainer.state()))
    assert train(resumed, SEARCH_EPOCHS) == train(trainer, SEARCH_EPOCHS)


@pytest.mark.parametrize("has_valid", [True, False])
@pytest.mark.parametrize(("epoch", "step"), [(2, 1), (7, 2), (13, 0), (25, 1)])
def test_a_search_that_is_interrupted_ends_as_an_unbroken_one(
    tmp_path: Path, has_valid: bool, epoch: int, step: int
) -> None:
    user, item, rating = low_rank_ratings(400, 200, 24_000)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.9, 0, 1 if has_valid else 2)
    dataset = write_dataset(tmp_path / "data", user, item, rating, split)
    unbroken = trainer_of(dataset, SEARCH_EPOCHS, **SEARCHING)
    errors = train(unbroken, SEARCH_EPOCHS)
    assert not unbroken.is_searching
    assert len(tried_by(unbroken)) >= 3

    stopped = trainer_of(dataset, SEARCH_EPOCHS, **SEARCHING)
    train(stopped, epoch)
    assert not stopped.train_epoch(stop_after(step)).finished
    resumed = trainer_of(dataset, SEARCH_EPOCHS, **SEARCHING)
    resumed.load_state(saved(stopped.state()))
    assert train(resumed, SEARCH_EPOCHS) == errors[epoch:]
    assert_same_state(resumed.state(), unbroken.state())


def test_what_a_search_holds_back_is_given_back(tmp_path: Path) -> None:
    user, item, rating = low_rank_ratings(400, 200, 24_000)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.9, 0, 2)
    dataset = write_dataset(tmp_path / "data", user, item, rating, split)
    num_ratings = dataset.manifest.num_ratings["train"]
    trainer = trainer_of(dataset, SEARCH_EPOCHS, **SEARCHING)
    counts, notes = [], []
    while trainer.epochs_done < SEARCH_EPOCHS:
        searching, result = trainer.is_searching, trainer.train_epoch(lambda: False)
        counts.append((searching, result.train.count))
        notes += [] if result.note is None else [result.note]

    withheld = num_ratings - counts[0][1]
    assert withheld == pytest.approx(0.05 * num_ratings, rel=0.2)
    assert set(counts) == {(True, num_ratings - withheld), (False, num_ratings)}
    chosen, left = "regularization 200, input_dropout 0.2, implicit_input 1", "input_dropout, regularization"
    assert notes[-1].endswith(f"; keeping {chosen}, the last epochs are for all ratings ({left} not tried)")


def test_a_training_too_short_to_try_anything_says_once_what_it_takes(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    trainer = trainer_of(dataset, implicit_input=None, regularization=None)
    notes = [trainer.train_epoch(lambda: False).note for _ in range(2)]
    assert notes[0] == (
        "regularization 200, input_dropout 0, implicit_input 0: nothing else is tried; tuning needs a training of "
        "at least 18 epochs, from its start"
    )
    assert notes[1] is None
    assert trainer_of(dataset).train_epoch(lambda: False).note is None, "all is given"


def test_what_another_run_has_found_out_is_not_said_to_be_untried(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    first = trainer_of(dataset, implicit_input=None)
    train(first, 1)
    state = first.state()
    begun = {**state.values, "epoch": 0, "optimizer": None}
    second = trainer_of(dataset, implicit_input=None)
    second.load_state(saved(TrainerState(state.tables, begun)))
    assert second.train_epoch(lambda: False).note is None


def test_ratings_twice_as_wide_train_the_same_model(tmp_path: Path) -> None:
    user, item, rating = low_rank_ratings(120, 60, 3000)
    split = np.where(np.random.default_rng(1).random(len(user)) < 0.8, 0, 1)
    errors = []
    for factor in (1, 2):
        dataset = write_dataset(tmp_path / f"times-{factor}", user, item, factor * rating, split)
        trainer = trainer_of(dataset)
        train(trainer)
        errors.append(trainer.validate().rmse / factor)
    assert errors[1] == pytest.approx(errors[0], rel=1e-6)


DEEP_BFLOAT16: dict[str, Any] = {"hidden": [8, 6, 8], "compute": "bfloat16"}
ROWWISE: dict[str, Any] = {"optimizer": "rowwise_rmsprop"}


@pytest.mark.parametrize("settings", [{}, DEEP_BFLOAT16, ROWWISE])
def test_every_tensor_is_made_on_the_device_of_the_run(tmp_path: Path, settings: dict[str, Any]) -> None:
    dataset = small_dataset(tmp_path / "data")
    with torch.device("meta"):
        trainer = trainer_of(dataset, **settings)
        train(trainer, 1)
        resumed = trainer_of(dataset, **settings)
        resumed.load_state(saved(trainer.state()))
        assert resumed.validate().rmse == trainer.validate().rmse < 2


def test_divergence_ends_training_at_the_batch_with_what_to_change(tmp_path: Path) -> None:
    trainer = trainer_of(small_dataset(tmp_path / "data"), learning_rate=1e30, hidden_activation="identity")
    place = r"not finite in epoch 1, at step (\d), in batch \1 of 4, on rank 0 of 1"
    with pytest.raises(TrainingError, match=place + r"; lower model.learning_rate \(now 1e\+30\)"):
        train(trainer)


def test_divergence_to_numbers_that_are_finite_ends_training_after_the_epoch(tmp_path: Path) -> None:
    trainer = trainer_of(small_dataset(tmp_path / "data"), learning_rate=100.0)
    told = r"training diverges: after epoch \d the train RMSE is [\d.e+]+, where all ratings lie between .*"
    with pytest.raises(TrainingError, match=told + r"; lower model.learning_rate \(now 100\)"):
        train(trainer)


@pytest.mark.parametrize("settings", [{}, {"optimizer": "rprop"}])
def test_divergence_in_the_very_last_step_is_noticed(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Its errors are those before the step, and no later epoch tells."""
    trainer = trainer_of(small_dataset(tmp_path / "data"), 1, batch_ratings=10**6, learning_rate=1e6, **settings)
    with pytest.raises(TrainingError, match=r"diverges: after epoch 1 the RMSE of its last batch is .*; lower"):
        train(trainer, 1)


def test_an_epoch_that_stands_still_has_the_errors_of_where_it_stands(tmp_path: Path) -> None:
    """Without a gradient L-BFGS evaluates nothing anew."""
    row, column = np.divmod(np.arange(60), 10)
    dataset = write_dataset(tmp_path / "data", row, column, np.full(60, 4.0), np.zeros(60, np.int64))
    trainer = trainer_of(dataset, optimizer="lbfgs", regularization=0.0)
    for _ in range(3):
        found = trainer.train_epoch(lambda: False).train
        assert (found.rmse, found.count) == (0.0, 60)


def test_a_full_batch_step_is_that_of_the_whole_objective(tmp_path: Path) -> None:
    """Batches of a few rows or of all rows add up to the same gradient."""
    dataset = small_dataset(tmp_path / "data")
    one, many = (trainer_of(dataset, optimizer="rprop", batch_ratings=size) for size in (10**6, 280))
    for trainer in (one, many):
        with torch.no_grad():
            # A decoder of zeros has no gradient to hand on.
            trainer._model.decoder.normal_(generator=torch.Generator().manual_seed(1))
        assert trainer.train_epoch(lambda: False).finished
        assert trainer.state().values["optimizer"] == {"steps": 1}
    # The steps of Rprop know signs alone: the gradients tell whether the batches were added in the right measure.
    for name, parameter in one._model.named_parameters():
        gradient, other = parameter.grad, many._model.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


def test_l_bfgs_reaches_where_the_gradient_vanishes_and_says_so(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    trainer = trainer_of(dataset, optimizer="lbfgs", regularization=30.0, batch_ratings=2000)
    largest = []
    while not trainer.has_converged:
        trainer.train_epoch(lambda: False)
        assert trainer.epochs_done < 300
        largest.append(max(float(p.grad.abs().max()) for p in trainer._model.parameters() if p.grad is not None))
    assert largest[-1] < 0.05 * max(largest)
    # Past its end the objective is where it was.
    before = trainer.train_epoch(lambda: False).train.squared
    assert trainer.train_epoch(lambda: False).train.squared == pytest.approx(before, rel=1e-3)


def test_gradients_of_accumulated_batches_are_those_of_one(tmp_path: Path) -> None:
    dataset = small_dataset(tmp_path / "data")
    # A bound that nothing reaches lets gradients be whole, for their norm.
    clip: dict[str, Any] = {"gradient_clip": 1e30}
    one, many = (
        trainer_of(dataset, batch_ratings=size, accumulation=n, **clip) for size, n in ((1800, 1), (450, 4))
    )
    for trainer in (one, many):
        trainer.train_epoch(lambda: False)
    assert one.state().values["optimizer"] == many.state().values["optimizer"] == {"steps": 1}
    for name, parameter in one._model.named_parameters():
        gradient, other = parameter.grad, many._model.get_parameter(name).grad
        assert gradient is not None
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-5 * float(gradient.abs().max()))


@pytest.mark.parametrize("optimizer", ["adam", "rowwise_rmsprop"])
@pytest.mark.parametrize("model", [{}, {"tied": True}, {"hidden": [6, 4, 6]}, {"accumulation": 3}])
def test_gradients_made_by_blocks_of_columns_lead_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, model: dict[str, Any]
) -> None:
    monkeypatch.setattr(optimizer_module, "BLOCK_FLOATS", 64)
    dataset = small_dataset(tmp_path / "data")
    by_blocks, whole = (
        trainer_of(dataset, optimizer=optimizer, gradient_clip=clip, **model) for clip in (None, 1e30)
    )
    for trainer in (by_blocks, whole):
        train(trainer, 3)
    assert by_blocks._model.encoder.grad is None
    assert whole._model.later is None
    for name, table in whole.state().tables.items():
        for column, tensor in table.tensors.items():
            assert torch.equal(by_blocks.state().tables[name].tensors[column], tensor), (name, column)


def test_clipping_bounds_what_a_step_sees(tmp_path: Path) -> None:
    trainer = trainer_of(small_dataset(tmp_path / "data"), gradient_clip=1e-3)
    train(trainer, 1)
    norms = [parameter.grad.norm() for parameter in trainer._model.parameters() if parameter.grad is not None]
    assert torch.stack(norms).norm() == pytest.approx(1e-3, rel=1e-3)


def test_dropout_keeps_a_model_of_users_from_copying_its_input(tmp_path: Path) -> None:
    """With as many hidden units as items and no penalty a user can learn to pass its ratings through."""
    dataset = small_dataset(tmp_path / "data", num_users=400, num_items=60, num_ratings=8000)
    train_errors, valid = [], []
    for input_dropout in (0.0, 0.8):
        trainer = trainer_of(
            dataset, 40, orientation="users", hidden=60, regularization=0.0, input_dropout=input_dropout
        )
        train_errors.append(train(trainer, 40)[-1])
        valid.append(trainer.validate().rmse)
    assert train_errors[0] < 0.5 * train_errors[1]
    assert valid[1] < 0.98 * valid[0]


def test_equal_ratings_are_predicted_exactly(tmp_path: Path) -> None:
    user, item, rating = low_rank_ratings(40, 20, 300)
    dataset = write_dataset(tmp_path / "data", user, item, np.full_like(rating, 4.0), np.arange(len(user)) % 2)
    trainer = trainer_of(dataset, output_activation="sigmoid")
    train(trainer)
    assert trainer.validate().rmse < 1e-3
