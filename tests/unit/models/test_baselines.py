"""The bias model against the normal equations of its ridge regression."""

from __future__ import annotations

import numpy as np

from recsys_dist.models.baselines import BiasModel, mean_rating
from tests.merged import train_matrix
from tests.prepared import small_dataset


def test_sweeps_converge_to_the_ridge_solution(tmp_path):
    dataset = small_dataset(tmp_path / "dataset", num_users=30, num_items=20, num_ratings=200)
    ratings = train_matrix(dataset)
    user, item = np.nonzero(~np.isnan(ratings))
    mean = ratings[user, item].mean()
    design = np.zeros((len(user), 50))
    design[np.arange(len(user)), user] = design[np.arange(len(user)), 30 + item] = 1
    penalty = np.diag(np.repeat([4.0, 7.0], [30, 20]))
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ (ratings[user, item] - mean))

    model = BiasModel.fit(
        lambda: (dataset.block("users", shard) for shard in range(4)),
        30,
        20,
        user_regularization=4.0,
        item_regularization=7.0,
        sweeps=200,
    )

    np.testing.assert_allclose(np.concatenate([model.user_bias_U, model.item_bias_I]), expected, atol=1e-9)
    everyone, everything = np.arange(31), np.full(31, 20)
    np.testing.assert_allclose(model.predict(everyone, everything), mean + np.append(expected[:30], 0))


def test_mean_is_over_ratings_not_over_blocks(tmp_path):
    dataset = small_dataset(tmp_path / "dataset", num_users=30, num_items=20, num_ratings=200, num_shards=3)

    mean = mean_rating(lambda: (dataset.block("users", shard) for shard in range(3)))

    assert mean == np.nanmean(train_matrix(dataset))
