"""Lists by a lower bound and by a draw, against plain arithmetic in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys_dist import load_model
from recsys_dist.errors import ConfigError
from recsys_dist.families.mf.serving import covariances, uncertainty
from recsys_dist.inference import top
from recsys_dist.inference.criterion import RankingCriterion, score_by
from tests.support.merged import NOISE_VARIANCE, mf_run, write_merged
from tests.support.prepared import small_dataset

WIDTHS = {"full": 2 * 10, "diagonal": 2 * 4}
"""Numbers of a row that is multiplied: two for each entry of a covariance that is kept, of 4 x 4."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset", num_users=40, num_items=25, num_ratings=300)


@pytest.fixture(scope="module", params=["full", "diagonal"])
def model(request, tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset, posterior=request.param), dataset, path)
    return load_model(str(path))


def lists_of(model, users: list[str], **order: object) -> list[list[str]]:
    return [one.item_ids for one in model.recommend(users, 8, **order)]


def posteriors(model, side: str, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors [R, K], biases [R] and covariances [R, n, n] in the files; the unknown's where nothing was rated."""
    is_rated = np.append(model.folder.num_train(side) > 0, False)
    rows = np.where(is_rated[rows], rows, len(is_rated) - 1)
    means, spread = (
        {
            name: tensor.double().numpy()[rows]
            for name, tensor in next(iter(model.folder.table(table).chunks()))[1].items()
        }
        for table in (side, f"{side[:-1]}_covariances")
    )
    n = means["vector"].shape[1] + 1
    covariance_Rnn = np.zeros((len(rows), n, n))
    if "variance" in spread:
        covariance_Rnn[:, range(n), range(n)] = spread["variance"]
    else:
        upper, lower = np.triu_indices(n)
        covariance_Rnn[:, upper, lower] = covariance_Rnn[:, lower, upper] = spread["covariance"]
    return means["vector"], means["bias"], covariance_Rnn


@pytest.mark.parametrize("confidence", [0.9, 0.2])
def test_lower_is_the_mean_less_the_deviation_of_the_taste(model, monkeypatch, confidence):
    # Blocks of 2 users and of 2 items
    monkeypatch.setattr(top, "SCORE_BLOCK_FLOATS", 3 * 25)
    monkeypatch.setattr(covariances, "ROW_FLOATS", 2 * WIDTHS[model.manifest.config["model"]["posterior"]])
    assert model.predictor.uncertainty.users_at_once == 2
    users = [f"u{user}" for user in range(40)]

    lists = lists_of(model, [*users, "new"], rank_by="lower", confidence=confidence, include_seen=True)

    z = {0.9: 1.2815516, 0.2: -0.8416212}[confidence]
    for user, listed in enumerate(lists):
        pairs = np.full(25, user), np.arange(25)
        deviation = np.sqrt(model.std_indices(*pairs).astype(float) ** 2 - NOISE_VARIANCE)
        bound = model.predict_indices(*pairs, clip=False) - z * deviation
        assert listed == [f"i{item}" for item in np.argsort(-bound, kind="stable")[:8]]
    assert lists != lists_of(model, [*users, "new"], include_seen=True)


def test_draws_are_the_same_for_a_seed_whoever_else_is_asked(model, monkeypatch):
    users = ["u7", "u3", "new", "u7", "u12"]
    together = lists_of(model, users, rank_by="thompson", seed=5)
    monkeypatch.setattr(top, "SCORE_BLOCK_FLOATS", 25)
    monkeypatch.setattr(uncertainty, "ROW_FLOATS", 3 * 16)

    alone = [lists_of(model, [user], rank_by="thompson", seed=5)[0] for user in users]

    assert together == alone == lists_of(model, users, rank_by="thompson", seed=5)
    assert together != lists_of(model, users, rank_by="thompson", seed=6)
    assert not set(together[0]) & set(model.item_ids.take(model.catalog.train_ratings.of_user(7)[0]))


def test_draws_come_from_the_posterior(model):
    """The scores of one user over many seeds: their mean and variance, the user's own bias left out."""
    rounds, asked = 600, np.array([7])
    users = model.predictor.known(asked)
    drawn = torch.cat(
        [
            score_by(model.predictor, RankingCriterion("thompson", seed=seed))(users, asked)
            for seed in range(rounds)
        ]
    )

    (p,), _, (user_nn,) = posteriors(model, "users", asked)
    q, bias, item_nn = posteriors(model, "items", np.arange(len(model.item_ids)))
    mean = q @ p + bias
    one_p = np.append(p, 1)
    # Var[p . q + c]: that of the item at the mean user, of the user at the mean item, and of both together
    variance = np.einsum("j,ijk,k->i", one_p, item_nn, one_p) + np.einsum("ij,jk,ik->i", q, user_nn[:3, :3], q)
    variance += np.einsum("jk,ijk->i", user_nn[:3, :3], item_nn[:, :3, :3])
    error = (drawn.mean(0).double().numpy() - mean) / np.sqrt(variance / rounds)
    assert np.abs(error).max() < 5
    np.testing.assert_allclose(drawn.double().var(0).numpy() / variance, 1, atol=0.35)


def test_a_folded_user_is_ranked_as_the_known_one(model):
    folded = model.fold_in([], [], user_id="u7")

    for rank_by in ("lower", "thompson"):
        listed = folded.recommend(8, rank_by=rank_by, seed=3)
        assert len(listed.item_ids) == 8
        assert listed.item_ids == folded.recommend(8, rank_by=rank_by, seed=3).item_ids
    # Nothing new is known of a user without ratings.
    nobody = model.fold_in([], [])
    for rank_by in ("mean", "lower", "thompson"):
        assert nobody.recommend(8, rank_by=rank_by).item_ids == lists_of(model, ["new"], rank_by=rank_by)[0]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"rank_by": "best"}, "rank_by 'best' is unknown; use mean, lower, thompson"),
        ({"rank_by": "lower", "confidence": 1.0}, r"confidence 1\.0 is not a number between 0 and 1"),
        ({"rank_by": "lower", "confidence": "0.9"}, r"confidence 0\.9 is not a number between 0 and 1"),
        ({"rank_by": "thompson", "seed": -1}, "seed -1 is not a whole number, 0 or more"),
        ({"rank_by": "thompson", "seed": 1.5}, r"seed 1\.5 is not a whole number"),
    ],
)
def test_an_order_that_cannot_be_is_refused(model, wrong, reason):
    for who in (lambda: model.recommend("u1", **wrong), lambda: model.fold_in(["i1"], [4]).recommend(**wrong)):
        with pytest.raises(ConfigError, match=reason):
            who()
