"""What the search judges by: lists of withheld interactions, with the weights that the model will keep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.ease.training.judge import Judge, largest_of_columns, num_judged_items
from recsys_dist.families.ease.training.penalty import Penalty
from recsys_dist.families.targets import Target
from tests.support.prepared import small_dataset


def test_each_column_keeps_its_largest_weights():
    weight_nn = torch.tensor([[0.0, 1.0, -3.0], [-2.0, 0.0, 1.0], [1.0, 0.5, 0.0]])
    kept = largest_of_columns(weight_nn, 1 / 3)
    assert kept.tolist() == [[0, 1, -3], [-2, 0, 0], [0, 0, 0]]
    assert torch.equal(largest_of_columns(weight_nn, 1.0), weight_nn)


def test_an_eighth_of_the_items_judges_within_bounds_and_memory():
    assert [num_judged_items(items, None) for items in (10, 8_000, 20_000, 10**6)] == [1024, 1024, 2500, 4096]
    assert num_judged_items(10**6, 200 << 20) == 1810
    assert num_judged_items(10**6, 1 << 20) == 1024


def test_lists_are_those_of_the_weights_that_the_model_keeps(tmp_path: Path):
    dataset = small_dataset(tmp_path / "data", num_ratings=12_000, num_items=150, num_users=400)
    alone, share = Collectives(World.single("cpu")), range(len(dataset.shards("users")))
    target = Target.of("all", dataset.manifest)
    judge = Judge.read(dataset, share, target, [0.0], 1.0, None, 3, alone)
    gram = judge.gram(0.0)
    whole, discounted = judge.ndcg(gram, Penalty(10.0, 0.3), [0.0, 1.0])
    (kept,) = replace(judge, keep_share=0.02).ndcg(gram, Penalty(10.0, 0.3), [0.0])
    assert 0 < kept < whole
    assert discounted != whole
    assert np.isfinite([kept, whole, discounted]).all()
