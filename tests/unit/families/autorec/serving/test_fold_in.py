"""New users from ratings alone, against what training makes of the same ratings."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist import load_model
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import DataError
from recsys_dist.families.mf.em import e_step
from recsys_dist.families.mf.em.layout import Layout
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.merged import (
    NOISE_VARIANCE,
    PRECISION_DOF,
    autorec_run,
    mf_run,
    train_matrix,
    write_merged,
)
from tests.support.prepared import small_dataset
from tests.support.states import SavedRun, saved

CPU = torch.device("cpu")
PLAIN = {"kind": "mf", "factors": 3, "constrained": "none", "noise": "shared", "constrained_regularization": 2.0}
CLOSE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def ratings(dataset):
    return train_matrix(dataset)


def rated_by(ratings: np.ndarray, user: int) -> tuple[list[str], np.ndarray]:
    items = np.flatnonzero(~np.isnan(ratings[user]))
    return [f"i{item}" for item in items], ratings[user, items]


FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "point": {"posterior": "point"},
    "differing noise": {"noise": "both"},
    "constrained": {"constrained": "both"},
    "both": {"noise": "users", "constrained": "users"},
    "point with differing noise": {"posterior": "point", "noise": "both"},
}


def train(dataset, epochs: int = 4, **form: str) -> SavedRun:
    """A trained state; of its users each is the E step of training against its items."""
    settings = MfSettings.model_validate({**PLAIN, **form})
    trainer = EmTrainer(dataset, settings, epochs=epochs, seed=0, collectives=Collectives(World.single()))
    for _ in range(epochs):
        trainer.train_epoch(lambda: False)
    config, details = {"model": settings.model_dump()}, {"dataset_digest": dataset.digest}
    return saved(trainer.state(), config=config, details=details)


def e_step_of_training(run: SavedRun, items: np.ndarray, ratings: np.ndarray, precision: float):
    """Mean, covariance and next precision of a user by the code that trains, in float64."""
    users, columns = Layout.of("users", 3, CPU), {k: t[items].double() for k, t in run.tables["items"].items()}
    layout, point = Layout.of("items", 3, CPU), run.config["model"]["posterior"] == "point"
    covariance_TB = torch.empty((10, len(items)), dtype=torch.float64)
    covariance_TB[layout.triangle_T] = columns["covariance"].T
    vectors_DB, moments_WB = e_step.moments_of(columns["mean"].T, None if point else covariance_TB, layout)
    weight_B, residual_B = (
        columns.get("precision", torch.ones(len(items))),
        torch.from_numpy(ratings - run.values["mu"]),
    )
    mean, covariance = (
        torch.tensor(run.values[f"user_prior_{part}"], dtype=torch.float64) for part in ("mean", "covariance")
    )
    pattern = columns["pattern"].sum(0) / np.sqrt(len(items)) if "pattern" in columns else torch.zeros(4)
    statistics = e_step.Statistics(
        gram_WB=(moments_WB * weight_B).sum(1, keepdim=True),
        weighted_DB=(vectors_DB * weight_B * residual_B).sum(1, keepdim=True),
        square_B=(weight_B * residual_B**2).sum(0, keepdim=True),
        count_B=torch.tensor([len(items)], dtype=torch.float64),
        precision_B=torch.tensor([precision], dtype=torch.float64),
        prior_mean_nB=(mean + pattern).unsqueeze(1),
    )
    posterior = e_step.update(statistics, Prior(mean, covariance), run.values["noise_variance"], users)
    error_B = e_step.squared_errors(posterior, statistics, users, point)
    dof = run.values["user_precision_dof"]
    after = e_step.updated_precision(error_B, statistics.count_B, dof, run.values["noise_variance"]) if dof else 1
    return posterior.mean_nB[:, 0], posterior.covariance_TB[users.triangle_T][:, 0], float(after)


@pytest.mark.parametrize("form", FORMS)
def test_mf_folds_in_by_the_e_step_of_training(tmp_path, dataset, ratings, form):
    run = train(dataset, **FORMS[form])
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    for user in (0, 17, 63):
        folded = model.fold_in(*rated_by(ratings, user)).user

        items = np.flatnonzero(~np.isnan(ratings[user]))
        mean, covariance, precision = e_step_of_training(run, items, ratings[user, items], folded.precision)
        torch.testing.assert_close(torch.cat([folded.vector_K, folded.bias.view(1)]).double(), mean, **CLOSE)
        # Given its precision the taste is that of training, and given the taste the precision: they stand still.
        assert folded.precision == pytest.approx(precision, rel=1e-9)
        assert (precision != 1) == (run.values["user_precision_dof"] is not None)
        assert (folded.spread_T is None) == form.startswith("point")
        if folded.spread_T is not None:
            torch.testing.assert_close(folded.spread_T.double(), covariance, **CLOSE)
        if precision == 1:
            assert_is_the_trained_user(model, model.fold_in([], [], user_id=f"u{user}"), user)


def assert_is_the_trained_user(model, folded, user: int) -> None:
    """Training works in float32."""
    np.testing.assert_allclose(folded.user.vector_K, model.users.vector_RK[user], atol=2e-5)
    np.testing.assert_allclose(folded.user.bias, model.users.bias_R[user], atol=2e-5)
    items, with_std = [f"i{item}" for item in range(model.items.num_rows)], model.knows_uncertainty
    trained = model.predict(f"u{user}", items, with_std)
    np.testing.assert_allclose(folded.predict(items, with_std), trained, atol=1e-4)
    if with_std:
        interval, (masses, grid) = folded.predict_interval(items), folded.predict_probabilities(items)
        np.testing.assert_allclose(interval, model.predict_interval(f"u{user}", items), atol=3e-4)
        np.testing.assert_allclose(masses, model.predict_probabilities(f"u{user}", items)[0], atol=1e-3)
        assert masses.shape == (len(items), len(grid))
    (listed,) = model.recommend(f"u{user}", 5)
    assert (folded.recommend(5).item_ids, folded.recommend(5).user_id) == (listed.item_ids, listed.user_id)


def test_a_user_of_a_trained_diagonal_posterior_is_folded_in_as_trained(tmp_path, dataset):
    """Training moves its means towards the solution, a few steps an epoch; folding in finds it at once."""
    run = train(dataset, epochs=25, posterior="diagonal", constrained="both")
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    items = [f"i{item}" for item in range(dataset.num_items)]

    for user in (0, 17, 63):
        folded = model.fold_in([], [], user_id=f"u{user}")

        expected, std = model.predict(f"u{user}", items, return_std=True)
        rating, folded_std = folded.predict(items, return_std=True)
        np.testing.assert_allclose(rating, expected, atol=5e-3)
        np.testing.assert_allclose(folded_std, std, rtol=2e-3)


def test_a_diagonal_posterior_has_the_exact_mean_and_the_variance_of_each_given_the_rest(tmp_path, dataset):
    run = mf_run(dataset, posterior="diagonal", noise="both", constrained="both")
    write_merged(run, dataset, tmp_path / "model")
    given = np.array([3, 9, 4, 20]), np.array([5.0, 1.0, 2.5, 4.0])

    user = load_model(str(tmp_path / "model")).fold_in([f"i{item}" for item in given[0]], given[1]).user

    columns = {name: tensor.double().numpy()[given[0]] for name, tensor in run.tables["items"].items()}
    z = np.insert(columns["mean"], 3, 1.0, axis=1)
    prior_precision = np.linalg.inv(run.values["user_prior_covariance"])
    prior_mean = np.array(run.values["user_prior_mean"]) + columns["pattern"].sum(0) / 2
    residual = given[1] - run.values["mu"]
    # E[z z^T] weighted; the item's own entries are all but the constant 1
    spread = np.insert(columns["variance"], 3, 0.0, axis=1)
    gram = sum(
        beta * (np.outer(one, one) + np.diag(variance))
        for beta, one, variance in zip(columns["precision"], z, spread, strict=True)
    )
    scale = user.precision / NOISE_VARIANCE
    precision = scale * gram[:4, :4] + prior_precision
    right = scale * ((columns["precision"] * residual) @ z - gram[4])[:4] + prior_precision @ prior_mean
    mean = np.linalg.solve(precision, right)
    np.testing.assert_allclose(np.append(user.vector_K.numpy(), user.bias), mean, rtol=1e-5)
    assert user.spread_T is not None
    np.testing.assert_allclose(user.spread_T, 1 / precision.diagonal(), rtol=1e-6)
    error = (
        sum(
            beta * ((r - np.append(mean, 1) @ one) ** 2 + (np.append(mean, 1) ** 2) @ variance)
            for beta, r, one, variance in zip(columns["precision"], residual, z, spread, strict=True)
        )
        + (gram.diagonal()[:4] / precision.diagonal()).sum()
    )
    dof = PRECISION_DOF["users"]
    assert user.precision == pytest.approx((dof + 4) / (dof + error / NOISE_VARIANCE), rel=1e-6)
    shape = (dof + 4) / 2
    assert user.noise == pytest.approx(shape / (shape - 1) / user.precision, rel=1e-12)


def test_more_ratings_of_a_known_user_are_added_to_its_own(tmp_path, dataset, ratings):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    items, given = rated_by(ratings, 17)
    new = next(f"i{item}" for item in range(dataset.num_items) if f"i{item}" not in items)

    more = model.fold_in([new, items[2], "not an item"], [1.5, 2.0, 3.0], user_id="u17")

    given[2] = 2.0
    whole = model.fold_in([*items, new], [*given, 1.5])
    assert more.user.vector_K.tolist() == whole.user.vector_K.tolist()
    assert more.rated.tolist() == whole.rated.tolist()
    assert not {*items, new} & set(more.recommend(1000).item_ids)
    with pytest.raises(DataError, match="unknown user 'u999'"):
        model.fold_in(["i1"], [4], user_id="u999")


def test_user_autorec_folds_in_as_it_encodes(tmp_path, dataset, ratings):
    write_merged(autorec_run(dataset, "users"), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    items, given = rated_by(ratings, 17)
    folded = model.fold_in(items, given)

    everything = [f"i{item}" for item in range(dataset.num_items)]
    np.testing.assert_allclose(folded.predict(everything), model.predict("u17", everything), atol=1e-5)


def test_a_new_user_of_few_ratings_is_drawn_to_the_average_and_a_known_one_is_not(tmp_path, dataset):
    write_merged(autorec_run(dataset, "users"), dataset, tmp_path / "model")
    told = json.loads((tmp_path / "model/model.json").read_text())
    num_train = dataset.num_train("users")
    assert told["fold_in"]["short_length"] == np.quantile(num_train[num_train > 0], 0.05)
    told["fold_in"] |= {"short_length": 8.0, "short_pull": 8.0}
    (tmp_path / "model/model.json").write_text(json.dumps(told))
    model = load_model(str(tmp_path / "model"))
    few = ["i3", "i9", "i4"], [5.0, 1.0, 2.5]
    told["fold_in"] |= {"short_length": 0.0}
    (tmp_path / "model/model.json").write_text(json.dumps(told))
    as_encoded = load_model(str(tmp_path / "model")).fold_in(*few).user

    user = model.fold_in(*few).user

    share = 3 / (3 + 8) * (8 + 8) / 8
    expected = share * as_encoded.vector_K + (1 - share) * model.users.vector_RK[-1]
    torch.testing.assert_close(user.vector_K, expected)
    torch.testing.assert_close(user.bias, share * as_encoded.bias + (1 - share) * model.users.bias_R[-1])
    everything = [f"i{item}" for item in range(dataset.num_items)]
    for known in np.argsort(num_train + 1000 * (num_train == 0))[:3]:
        folded = model.fold_in([], [], user_id=f"u{known}")
        np.testing.assert_allclose(folded.predict(everything), model.predict(f"u{known}", everything), atol=1e-5)


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


@pytest.mark.parametrize("kind", ["full", "diagonal", "point", "items", "users"])
def test_without_a_known_item_a_new_user_is_the_unknown_user(tmp_path, dataset, kind):
    run = (
        autorec_run(dataset, kind) if kind in {"items", "users"} else mf_run(dataset, posterior=kind, noise="both")
    )
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    everything = [f"i{item}" for item in range(dataset.num_items)]

    for folded in (model.fold_in([], []), model.fold_in(["not an item"], [4])):
        with_std: Any = kind in {"full", "diagonal"}
        np.testing.assert_allclose(
            folded.predict(everything, with_std), model.predict("new", everything, with_std), atol=1e-6
        )


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


@pytest.mark.parametrize(
    "ratings",
    [
        [9.0],
        [np.nan],
        [np.inf],
        ["good"],
        ["3"],
        [True],
        [True, 3.0],
        ["3", 4.0],
        np.array(["3"], object),
        np.array([0], "M8[D]"),
        [10**400],
        [1e39],
        np.array([1e39]),
        [3.0, 3.0],
        [[3.0]],
    ],
)
def test_ratings_that_cannot_be_are_refused(tmp_path, dataset, ratings):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")

    wrong = (
        r"outside the range of the data, 1 to 5|must be numbers|differ in length|must be one-dimensional, not with"
    )
    with pytest.raises(DataError, match=wrong):
        load_model(str(tmp_path / "model")).fold_in(["i1"], ratings)
