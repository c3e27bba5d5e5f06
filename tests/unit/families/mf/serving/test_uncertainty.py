"""Standard deviations, intervals and class probabilities against plain arithmetic in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from recsys_dist import load_model
from recsys_dist.api.model import Model
from recsys_dist.errors import ConfigError
from recsys_dist.families.mf.serving import covariances, uncertainty
from tests.support.merged import NOISE_VARIANCE, PRECISION_DOF, autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset, write_dataset
from tests.support.states import SavedRun

VARIANTS = [("full", "shared"), ("full", "both"), ("diagonal", "users"), ("diagonal", "shared")]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Some of the users and items have no train rating."""
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset", num_users=40, num_items=25, num_ratings=80)


@pytest.fixture(scope="module")
def path(tmp_path_factory, dataset) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset, noise="both"), dataset, folder)
    return folder


@pytest.fixture(scope="module")
def model(path):
    return load_model(str(path))


def believed(run: SavedRun, side: str, row: int, num_train: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and covariance of the augmented vector and E[1 / alpha]; those of the unknown without train ratings."""
    is_known = row < len(num_train) and num_train[row] > 0
    prior_mean, prior = (np.array(run.values[f"{side[:-1]}_prior"][part]) for part in ("mean", "covariance"))
    table = {name: tensor.double().numpy() for name, tensor in run.tables[side].items()}
    own = table["mean"][row] if is_known else prior_mean
    n = len(own)
    if "variance" in table:
        own_covariance = np.diag(table["variance"][row] if is_known else prior.diagonal())
    elif is_known:
        own_covariance = np.zeros((n, n))
        own_covariance[np.triu_indices(n)] = table["covariance"][row]
        own_covariance += np.triu(own_covariance, 1).T
    else:
        own_covariance = prior
    constant = n if side == "users" else n - 1
    place = [position for position in range(n + 1) if position != constant]
    vector, covariance = np.ones(n + 1), np.zeros((n + 1, n + 1))
    vector[place], covariance[np.ix_(place, place)] = own, own_covariance
    if "precision" not in table:
        return vector, covariance, 1.0
    shape = (PRECISION_DOF[side] + (num_train[row] if is_known else 0)) / 2
    precision = table["precision"][row] if is_known else 1.0
    return vector, covariance, (shape / (shape - 1) if shape > 1 else 1.0) / precision


@pytest.mark.parametrize(("posterior", "noise"), VARIANTS)
def test_std_is_that_of_a_product_of_two_gaussians(tmp_path, dataset, monkeypatch, posterior, noise):
    run = mf_run(dataset, posterior=posterior, noise=noise)
    write_merged(run, dataset, tmp_path / "model")
    # Several pieces, and pairs that share users and items among them.
    monkeypatch.setattr(covariances, "ROW_FLOATS", 400)
    monkeypatch.setattr(covariances, "PRODUCT_FLOATS", 20)
    monkeypatch.setattr(covariances, "LEAST_PAIRS", 1)
    users, items = np.divmod(np.arange(41 * 26), 26)
    order = np.random.default_rng(0).permutation(len(users))
    users, items = users[order], items[order]

    _, std = load_model(str(tmp_path / "model")).predict(
        [f"u{user}" for user in users], [f"i{item}" for item in items], return_std=True
    )

    counts = {side: dataset.num_train(side) for side in ("users", "items")}
    assert (counts["users"] == 0).any()
    assert (counts["items"] == 0).any()
    for row, (user, item) in enumerate(zip(users, items, strict=True)):
        a, cov_a, noise_u = believed(run, "users", user, counts["users"])
        z, cov_z, noise_i = believed(run, "items", item, counts["items"])
        parameters = a @ cov_z @ a + z @ cov_a @ z + np.trace(cov_a @ cov_z)
        assert std[row] == pytest.approx(np.sqrt(NOISE_VARIANCE * noise_u * noise_i + parameters), rel=2e-6)


def test_covariances_that_rounding_made_indefinite_can_be_drawn_from():
    """Rank 1, with a smallest eigenvalue just below zero."""
    matrix = torch.outer(*(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),) * 2)
    matrix -= 1e-9 * torch.eye(3)

    root = uncertainty._roots(torch.stack([matrix, torch.eye(3, dtype=torch.float64), torch.zeros(3, 3).double()]))

    torch.testing.assert_close(root[0] @ root[0].T, matrix, rtol=0, atol=1e-8)
    assert torch.equal(root[1], torch.eye(3, dtype=torch.float64))
    assert not root[2].any()


def test_intervals_hold_what_they_say_and_stay_in_the_range(model):
    users, items = [f"u{n % 40}" for n in range(200)], [f"i{n % 25}" for n in range(200)]
    predicted, std = model.predict(users, items, return_std=True)

    low, high = model.predict_interval(users, items, coverage=0.9)

    assert ((low <= predicted) & (predicted <= high)).all()
    assert low.min() >= 1
    assert high.max() <= 5
    inside = (low > 1) & (high < 5)
    np.testing.assert_allclose((high - low)[inside], 2 * 1.6448536 * std[inside], rtol=1e-5)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 1 - 2**-53, -0.5, np.nan, "0.9", None])
def test_an_interval_that_cannot_be_is_refused(model, coverage):
    with pytest.raises(ConfigError, match="is not a number between 0 and 1"):
        model.predict_interval("u1", "i1", coverage)


def test_probabilities_are_the_masses_of_the_cells(model):
    users, items = [f"u{n % 40}" for n in range(200)], [f"i{n % 25}" for n in range(200)]

    probability_NC, grid_C = model.predict_probabilities(users, items)

    assert grid_C.tolist() == [1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5]
    assert probability_NC.dtype == grid_C.dtype == np.float32
    np.testing.assert_allclose(probability_NC.sum(1), 1, atol=1e-6)
    mean = model.predict_indices(model.user_ids.find(users), model.item_ids.find(items), clip=False)
    _, std = model.predict(users, items, return_std=True)
    normal = norm(mean.astype(float), std.astype(float))
    np.testing.assert_allclose(probability_NC[:, 2], normal.cdf(2.25) - normal.cdf(1.75), atol=1e-6)
    np.testing.assert_allclose(probability_NC[:, 0], normal.cdf(1.25), atol=1e-6)
    np.testing.assert_allclose(probability_NC[:, -1], normal.sf(4.75), atol=1e-6)


def test_ratings_without_a_grid_have_no_classes(tmp_path):
    user, item = np.divmod(np.arange(200), 20)
    rating = 1 + np.arange(200) / 50
    dataset = write_dataset(tmp_path / "dataset", user, item, rating, np.zeros(200))
    write_merged(mf_run(dataset), dataset, tmp_path / "model")

    with pytest.raises(ConfigError, match="more than 64 distinct ratings"):
        load_model(str(tmp_path / "model")).predict_probabilities("u1", "i1")


@pytest.mark.parametrize("kind", ["point", "items"])
def test_a_model_that_does_not_know_its_uncertainty_says_so(tmp_path, dataset, kind):
    run = autorec_run(dataset, kind) if kind == "items" else mf_run(dataset, posterior=kind, noise="both")
    write_merged(run, dataset, tmp_path / "model")
    model: Model = load_model(str(tmp_path / "model"))

    for ask in (
        lambda: model.predict("u1", "i1", return_std=True),
        lambda: model.predict_interval("u1", "i1"),
        lambda: model.predict_probabilities("u1", "i1"),
        lambda: model.recommend("u1", rank_by="lower"),
        lambda: model.fold_in(["i1"], [4]).recommend(rank_by="thompson"),
    ):
        with pytest.raises(ConfigError, match=r"train kind: mf with posterior: full or diagonal$"):
            ask()
