"""The items that users have rated, from the blocks of a model folder."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from recsys_dist.inference import seen
from recsys_dist.inference.seen import TrainRatings
from recsys_dist.model_folder.folder import ModelFolder
from tests.support.merged import mf_run, train_matrix, write_merged
from tests.support.prepared import low_rank_ratings, write_dataset


def test_a_walk_over_all_users_keeps_few_blocks_mapped(tmp_path, monkeypatch):
    user, item, rating = low_rank_ratings(40, 20, 400)
    dataset = write_dataset(tmp_path / "data", user, item, rating, np.zeros(len(user), int), 40, 20, num_shards=8)
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    monkeypatch.setattr(seen, "MOST_BLOCKS", 2)
    folder, mapped = ModelFolder.open(str(tmp_path / "model")), []

    def watched(shard: int):
        block = ModelFolder.block(folder, shard)
        mapped.append(weakref.ref(block))
        return block

    monkeypatch.setattr(folder, "block", watched)
    ratings = TrainRatings(folder)
    rated = ~np.isnan(train_matrix(dataset))
    for start in range(0, 40, 5):
        users = np.arange(start, start + 5)
        position, items = ratings.of_users(users)
        np.testing.assert_array_equal([position, items], np.nonzero(rated[users]))
    gc.collect()

    assert len(mapped) >= 8
    assert sum(block() is not None for block in mapped) == 2
