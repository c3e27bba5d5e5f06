from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recsys_dist.api.model import load_model
from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training.trainer import IalsTrainer
from recsys_dist.protocols.family import TrainingSetup
from tests.support.merged import rated_by, train_matrix, write_merged
from tests.support.prepared import low_rank_ratings, write_dataset
from tests.support.states import saved, single_collectives
from tests.unit.families.ials.reference import dense_weights, solved_rows

SETTINGS = {"kind": "ials", "factors": 4, "regularization": 0.02, "unobserved_weight": 0.2, "target": "liked"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model with a cold item, a user without interactions, and one without ratings."""
    folder = tmp_path_factory.mktemp("ials")
    user, item, rating = low_rank_ratings(60, 30, 700)
    rating[user == 7] = 1.0
    dataset = write_dataset(folder / "d", user, item, rating, np.zeros(len(user), int), num_users=61, num_items=31)
    trainer = IalsTrainer(
        TrainingSetup(dataset, IalsSettings.model_validate(SETTINGS), 3, 0, None, single_collectives())
    )
    for _ in range(12):
        trainer.train_epoch(lambda: False)
    config = {"model": SETTINGS, "dataset": dataset.folder.url}
    run = saved(trainer.state(), config=config, details={"dataset_digest": dataset.digest})
    write_merged(run, dataset, folder / "model")
    tables = {name: rows["vector"].double().numpy() for name, rows in run.tables.items()}
    target, penalty = trainer._target, trainer._penalty
    weights = dense_weights(train_matrix(dataset), target)
    return SimpleNamespace(
        model=load_model(str(folder / "model")), dataset=dataset, weights=weights, penalty=penalty, **tables
    )


def scores_of(trained, users):
    scores = trained.model.predictor.scorer.scores(users)
    assert scores.shape[1] == trained.dataset.num_items
    return scores.double().numpy()


def test_scores_are_inner_products(trained):
    known = trained.model.predictor.known(np.array([0, 5]))
    np.testing.assert_allclose(scores_of(trained, known), trained.users[[0, 5]] @ trained.items.T, atol=1e-5)
    assert not trained.model.predictor.scorer.predicts_ratings


def test_fold_in_solves_the_row_of_a_user(trained):
    ratings = train_matrix(trained.dataset)
    expected = solved_rows(trained.weights, trained.items, trained.penalty) @ trained.items.T
    for user in (0, 12):
        folded = trained.model.fold_in(*rated_by(ratings, user))
        np.testing.assert_allclose(scores_of(trained, folded.users)[0], expected[user], atol=1e-4)
        np.testing.assert_allclose(expected[user], trained.users[user] @ trained.items.T, atol=5e-3)


def test_a_user_without_interactions_is_the_average_user(trained):
    average = trained.users[trained.users.any(1)].mean(0)
    nobody = scores_of(trained, trained.model.predictor.known(np.array([61])))
    np.testing.assert_allclose(nobody[0], average @ trained.items.T, atol=1e-5)
    assert nobody.argmax() == trained.weights.sum(0).argmax(), "the average user likes what most like"
    for folded in (trained.model.fold_in([], []), trained.model.fold_in(["i3", "i4"], [1.0, 1.0])):
        np.testing.assert_array_equal(scores_of(trained, folded.users), nobody)


@pytest.mark.parametrize("user", [7, 60])
def test_known_users_without_interactions_get_lists_too(trained, user):
    nobody, theirs = (scores_of(trained, trained.model.predictor.known(np.array([one])))[0] for one in (61, user))
    np.testing.assert_array_equal(theirs, nobody)


def test_a_cold_item_and_an_unknown_one_have_the_score_0(trained):
    known = trained.model.predictor.known(np.array([0]))
    assert scores_of(trained, known)[0, 30] == 0
    unknown = trained.model.predictor.scorer.ratings(known, torch.tensor([0]), torch.tensor([31]))
    assert unknown.tolist() == [0]


def test_similar_items_share_users(trained):
    vectors = trained.model.predictor.scorer.vectors("items")
    np.testing.assert_allclose(vectors.numpy(), trained.items, atol=1e-6)
    assert len(trained.model.similar_items("i0", 3).ids) == 3
