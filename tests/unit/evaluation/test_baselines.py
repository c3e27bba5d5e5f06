"""The bias model over the shards of a dataset, and the mean of their ratings."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.evaluation.baselines import BiasModel, mean_rating
from tests.support.merged import train_matrix
from tests.support.prepared import small_dataset


def blocks_of_users(dataset: Dataset) -> Iterator[Block]:
    return (dataset.block("users", shard) for shard in range(len(dataset.shards("users"))))


def test_users_of_all_shards_are_fitted_alike_and_unknown_ones_get_the_mean(tmp_path):
    dataset = small_dataset(tmp_path / "dataset", num_users=30, num_items=20, num_ratings=200)
    whole = small_dataset(tmp_path / "whole", num_users=30, num_items=20, num_ratings=200, num_shards=1)

    model, expected = (BiasModel.fit(partial(blocks_of_users, one), 30, 20) for one in (dataset, whole))

    everyone, everything = np.arange(31), np.arange(21)
    pairs = np.repeat(everyone, 21), np.tile(everything, 31)
    np.testing.assert_allclose(model.predict(*pairs), expected.predict(*pairs), atol=1e-9)
    assert model.predict(np.array([30]), np.array([20])) == model.mean
    assert np.ptp(model.user_bias_U) > 0.2
    # Each bias is that of the user's own ratings.
    left = train_matrix(dataset) - model.mean - model.item_bias_I
    count = (~np.isnan(left)).sum(1)
    shrinkage = np.nansum(left, 1)[count > 0] / model.user_bias_U[count > 0] - count[count > 0]
    np.testing.assert_allclose(shrinkage, shrinkage[0], rtol=1e-6)


def test_mean_is_over_ratings_not_over_blocks(tmp_path):
    dataset = small_dataset(tmp_path / "dataset", num_users=30, num_items=20, num_ratings=200, num_shards=3)

    mean = mean_rating(partial(blocks_of_users, dataset))

    assert mean == np.nanmean(train_matrix(dataset))
