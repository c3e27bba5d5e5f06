"""New users from ratings alone, against what training makes of the same ratings."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_dist import load_model
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import DataError
from recsys_dist.training.config import MfSettings
from recsys_dist.training.em_trainer import EmTrainer
from tests.merged import SavedRun, autorec_run, mf_run, train_matrix, write_merged
from tests.prepared import small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def ratings(dataset):
    return train_matrix(dataset)


def rated_by(ratings: np.ndarray, user: int) -> tuple[list[str], np.ndarray]:
    items = np.flatnonzero(~np.isnan(ratings[user]))
    return [f"i{item}" for item in items], ratings[user, items]


@pytest.mark.parametrize("posterior", ["full", "point"])
def test_mf_folds_in_as_its_e_step_does(tmp_path, dataset, ratings, posterior):
    settings = MfSettings(kind="mf", factors=3, posterior=posterior)
    trainer = EmTrainer(dataset, settings, seed=0, collectives=Collectives(World.single()))
    for _ in range(4):
        trainer.train_epoch(lambda: False)
    state = trainer.state()
    run = SavedRun(
        {name: table.tensors for name, table in state.tables.items()},
        state.values,
        {"model": settings.model_dump()},
        {"dataset_digest": dataset.digest},
    )
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    for user in (0, 17, 63):
        folded = model.fold_in(*rated_by(ratings, user))

        np.testing.assert_allclose(folded.user.vector_K, model.users.vector_RK[user], atol=2e-5)
        np.testing.assert_allclose(folded.user.bias, model.users.bias_R[user], atol=2e-5)
        items = [f"i{item}" for item in range(dataset.num_items)]
        if posterior == "full":
            for new, known in zip(
                folded.predict(items, return_std=True),
                model.predict(f"u{user}", items, return_std=True),
                strict=True,
            ):
                np.testing.assert_allclose(new, known, atol=1e-4)
        assert folded.recommend(5).item_ids == model.recommend(f"u{user}", 5)[0].item_ids


def test_user_autorec_folds_in_as_it_encodes(tmp_path, dataset, ratings):
    write_merged(autorec_run(dataset, "users"), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    items, given = rated_by(ratings, 17)
    folded = model.fold_in(items, given)

    everything = [f"i{item}" for item in range(dataset.num_items)]
    np.testing.assert_allclose(folded.predict(everything), model.predict("u17", everything), atol=1e-5)


def test_item_autorec_folds_in_by_ridge_around_the_average_user(tmp_path, dataset, ratings):
    run = autorec_run(dataset, "items", regularization=3.0)
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    items, given = rated_by(ratings, 17)
    index = [int(item[1:]) for item in items]
    hidden = np.pad(model.items.vector_RK[index].double().numpy(), ((0, 0), (0, 1)), constant_values=1)
    average = np.append(model.users.vector_RK[-1].numpy(), model.users.bias_R[-1].numpy())
    target = given - model.manifest.offset - model.items.bias_R[index].numpy()

    def loss(parameters: np.ndarray) -> float:
        penalty = np.array([1.5, 1.5, 1.5, 1.5, run.values["column_shrinkage"]])
        return ((target - hidden @ parameters) ** 2).sum() + (penalty * (parameters - average) ** 2).sum()

    user = model.fold_in(items, given).user

    found = np.append(user.vector_K.numpy(), user.bias.numpy()).astype(np.float64)
    for step in np.concatenate([np.eye(5), -np.eye(5)]) * 1e-3:
        assert loss(found + step) > loss(found)


@pytest.mark.parametrize("kind", ["mf", "items"])
def test_without_a_known_item_a_new_user_is_the_unknown_user(tmp_path, dataset, kind):
    write_merged(mf_run(dataset) if kind == "mf" else autorec_run(dataset, kind), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    everything = [f"i{item}" for item in range(dataset.num_items)]

    for folded in (model.fold_in([], []), model.fold_in(["not an item"], [4])):
        np.testing.assert_allclose(folded.predict(everything), model.predict("new", everything), atol=1e-6)


def test_order_of_the_ratings_does_not_matter_and_rated_items_are_left_out(tmp_path, dataset):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    one = model.fold_in(["i3", "i9", "i4"], [5, 1, 2])
    other = model.fold_in(["i4", "i3", "i9"], [2, 5, 1])

    assert one.user.vector_K.tolist() == other.user.vector_K.tolist()
    listed = one.recommend(dataset.num_items).item_ids
    assert len(listed) == dataset.num_items - 3
    assert not {"i3", "i9", "i4"} & set(listed)
    assert len(one.recommend(100, include_seen=True).item_ids) == dataset.num_items


def test_the_last_rating_of_an_item_counts(tmp_path, dataset):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    twice = model.fold_in(["i3", "i9", "x", "i3"], [5, 1, 4, 2])

    assert twice.user.vector_K.tolist() == model.fold_in(["i9", "i3"], [1, 2]).user.vector_K.tolist()
    assert twice.rated.tolist() == [3, 9]


@pytest.mark.parametrize("ratings", [[9.0], [np.nan], [np.inf], ["good"], [3.0, 3.0]])
def test_ratings_that_cannot_be_are_refused(tmp_path, dataset, ratings):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")

    with pytest.raises(DataError, match=r"outside the range of the data, 1 to 5|must be numbers|differ in length"):
        load_model(str(tmp_path / "model")).fold_in(["i1"], ratings)
