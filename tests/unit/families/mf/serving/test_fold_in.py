"""New users of a matrix factorization from ratings alone, against the E step of training on the same ratings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist import load_model
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.mf.em import e_step
from recsys_dist.families.mf.em.layout import PanelLayout
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.merged import (
    NOISE_VARIANCE,
    PRECISION_DOF,
    mf_run,
    rated_by,
    train_matrix,
    write_merged,
)
from tests.support.prepared import small_dataset
from tests.support.states import SavedRun

CPU = torch.device("cpu")
PLAIN = {"kind": "mf", "factors": 3, "constrained": "none", "noise": "shared", "constrained_regularization": 2.0}
CLOSE: dict[str, Any] = {"rtol": 1e-6, "atol": 1e-6}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def ratings(dataset):
    return train_matrix(dataset)


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
    state = trainer.state()
    tables = {name: table.tensors for name, table in state.tables.items()}
    return SavedRun(tables, state.values, {"model": settings.model_dump()}, {"dataset_digest": dataset.digest})


def e_step_of_training(run: SavedRun, items: np.ndarray, ratings: np.ndarray, precision: float):
    """Mean, covariance and next precision of a user by the code that trains, in float64."""
    users, columns = (
        PanelLayout.of("users", 3, CPU),
        {k: t[items].double() for k, t in run.tables["items"].items()},
    )
    layout, point = PanelLayout.of("items", 3, CPU), run.config["model"]["posterior"] == "point"
    covariance_TB = torch.empty((10, len(items)), dtype=torch.float64)
    covariance_TB[layout.triangle_T] = columns["covariance"].T
    vectors_DB, moments_WB = e_step.moments_of(columns["mean"].T, None if point else covariance_TB, layout)
    weight_B, residual_B = (
        columns.get("precision", torch.ones(len(items))),
        torch.from_numpy(ratings - run.values["mu"]),
    )
    mean, covariance = (
        torch.tensor(run.values["user_prior"][part], dtype=torch.float64) for part in ("mean", "covariance")
    )
    pattern = columns["constraint"].sum(0) / np.sqrt(len(items)) if "constraint" in columns else torch.zeros(4)
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
    dof = run.values["user_prior"]["precision_dof"]
    after = e_step.updated_precision(error_B, statistics.count_B, dof, run.values["noise_variance"]) if dof else 1
    return posterior.mean_nB[:, 0], posterior.covariance_TB[users.triangle_T][:, 0], float(after)


def standing_still(run: SavedRun, items: np.ndarray, ratings: np.ndarray):
    """The taste given its precision, and the precision given the taste, in turn until both stand still."""
    precision = 1.0
    for _ in range(1000):
        mean, covariance, after = e_step_of_training(run, items, ratings, precision)
        if abs(after - precision) <= 1e-12 * after:
            return mean, covariance, after
        precision = after
    raise AssertionError(precision)


def noise_of(precision: float, dof: float | None, num_ratings: int) -> float:
    """E[1 / alpha] of alpha ~ Gamma of this mean."""
    shape = 0.0 if dof is None else (dof + num_ratings) / 2
    return (shape / (shape - 1) if shape > 1 else 1.0) / precision


@pytest.mark.parametrize("form", FORMS)
def test_mf_folds_in_by_the_e_step_of_training(tmp_path, dataset, ratings, form):
    run = train(dataset, **FORMS[form])
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    for user in (0, 17, 63):
        folded = model.fold_in(*rated_by(ratings, user)).users

        items, dof = np.flatnonzero(~np.isnan(ratings[user])), run.values["user_prior"]["precision_dof"]
        mean, covariance, precision = standing_still(run, items, ratings[user, items])
        found = torch.cat([folded.means.vector_BK[0], folded.means.bias_B])
        torch.testing.assert_close(found.double(), mean, **CLOSE)
        assert (precision != 1) == (dof is not None)
        assert (folded.posterior is None) == form.startswith("point")
        if folded.posterior is not None:
            torch.testing.assert_close(folded.posteriors.covariance_RT[0].double(), covariance, **CLOSE)
            assert folded.posteriors.noise_R.item() == pytest.approx(
                noise_of(precision, dof, len(items)), rel=1e-9
            )
        if precision == 1:
            assert_is_the_trained_user(model, model.fold_in([], [], user_id=f"u{user}"), user)


def assert_is_the_trained_user(model, folded, user: int) -> None:
    """Training works in float32."""
    own = model.predictor.known(np.array([user])).means
    np.testing.assert_allclose(folded.users.means.vector_BK, own.vector_BK, atol=2e-5)
    np.testing.assert_allclose(folded.users.means.bias_B, own.bias_B, atol=2e-5)
    items, with_std = [f"i{item}" for item in range(len(model.item_ids))], model.knows_uncertainty
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

    user = load_model(str(tmp_path / "model")).fold_in([f"i{item}" for item in given[0]], given[1]).users

    columns = {name: tensor.double().numpy()[given[0]] for name, tensor in run.tables["items"].items()}
    z = np.insert(columns["mean"], 3, 1.0, axis=1)
    prior_precision = np.linalg.inv(run.values["user_prior"]["covariance"])
    prior_mean = np.array(run.values["user_prior"]["mean"]) + columns["constraint"].sum(0) / 2
    residual = given[1] - run.values["mu"]
    # E[z z^T] weighted; the item's own entries are all but the constant 1
    spread = np.insert(columns["variance"], 3, 0.0, axis=1)
    gram = sum(
        beta * (np.outer(one, one) + np.diag(variance))
        for beta, one, variance in zip(columns["precision"], z, spread, strict=True)
    )
    # E[1 / alpha] = shape / (shape - 1) / E[alpha]
    dof = PRECISION_DOF["users"]
    shape = (dof + 4) / 2
    expected = shape / (shape - 1) / user.posteriors.noise_R.item()
    scale = expected / NOISE_VARIANCE
    precision = scale * gram[:4, :4] + prior_precision
    right = scale * ((columns["precision"] * residual) @ z - gram[4])[:4] + prior_precision @ prior_mean
    mean = np.linalg.solve(precision, right)
    np.testing.assert_allclose(np.append(user.means.vector_BK, user.means.bias_B), mean, rtol=1e-5)
    np.testing.assert_allclose(user.posteriors.covariance_RT[0], 1 / precision.diagonal(), rtol=1e-6)
    error = (
        sum(
            beta * ((r - np.append(mean, 1) @ one) ** 2 + (np.append(mean, 1) ** 2) @ variance)
            for beta, r, one, variance in zip(columns["precision"], residual, z, spread, strict=True)
        )
        + (gram.diagonal()[:4] / precision.diagonal()).sum()
    )
    assert expected == pytest.approx((dof + 4) / (dof + error / NOISE_VARIANCE), rel=1e-6)
