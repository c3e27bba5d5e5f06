from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from recsys_dist.families.ials.training.alternation import Alternation
from recsys_dist.families.ials.training.holdout import RankingHoldout
from recsys_dist.families.ials.training.ranking import TOP, RankingJudge
from recsys_dist.families.targets import Target
from recsys_dist.metrics import ndcg_sums
from tests.support.merged import train_matrix
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.support.states import single_collectives

HOLDOUT = RankingHoldout(seed=3, num_items=60, sampled_share=1.0, judged_share=0.7, withheld_share=0.2)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("dataset") / "small")


def judged(dataset, holdout):
    """A model with random vectors, its nDCG, and the number of users judged."""
    target = Target.of("graded", dataset.manifest)
    model = Alternation(dataset, target, 4, single_collectives(), holdout=holdout)
    model.read()
    model.start(seed=1)
    judge = RankingJudge(dataset, model.sides["users"], target, holdout, single_collectives())
    return model, *judge.ndcg(model)


def reference_ndcg(model, dataset, holdout):
    """User by user, from dense matrices."""
    train, valid = train_matrix(dataset), np.full((dataset.num_users, dataset.num_items), np.nan)
    for shard in range(len(dataset.shards("users"))):
        part = dataset.ratings("valid", shard)
        valid[part.user_index, part.item_index] = part.rating
    scores = (model.vectors["users"] @ model.vectors["items"].T).numpy()
    every, sums = np.arange(dataset.num_items), np.zeros(2)
    for user in range(dataset.num_users):
        if not holdout.is_judged(np.array([user]))[0]:
            continue
        withheld = holdout.is_withheld(np.full(dataset.num_items, user), every)
        seen = ~np.isnan(train[user]) & ~withheld
        wanted = np.where(withheld, train[user], np.nan) if holdout.withheld_share else valid[user]
        wanted = np.flatnonzero(wanted >= np.float32(dataset.manifest.rating.mean))
        if len(wanted):
            listed = np.argsort(-np.where(seen, -np.inf, scores[user]), kind="stable")[:TOP]
            sums += ndcg_sums(np.isin(listed, wanted)[None], np.array([len(wanted)]))
    return sums[0] / sums[1], sums[1]


@pytest.mark.parametrize("share", [0.2, 0.0])
def test_ndcg_is_that_of_lists_without_trained_items(dataset, share):
    holdout = replace(HOLDOUT, withheld_share=share)
    model, ndcg, users = judged(dataset, holdout)
    expected = reference_ndcg(model, dataset, holdout)
    assert users == expected[1] > 40
    assert ndcg == pytest.approx(expected[0], abs=1e-6)


def test_both_sides_train_on_the_same_pairs(dataset):
    model, *_ = judged(dataset, replace(HOLDOUT, sampled_share=0.8))
    users, items = (model.sides[side].count_R.sum() for side in ("users", "items"))
    assert users == items == model.num_interactions < 0.8 * dataset.manifest.num_ratings["train"]
    target = Target.of("graded", dataset.manifest)
    whole = Alternation(dataset, target, 4, single_collectives())
    whole.read()
    assert whole.num_interactions == dataset.manifest.num_ratings["train"]


def test_a_user_who_rated_everything_is_no_problem(tmp_path):
    user, item = (grid.ravel() for grid in np.meshgrid(np.arange(20), np.arange(12)))
    rating = np.random.default_rng(0).integers(1, 6, len(user)).astype(np.float32)
    dataset = write_dataset(tmp_path / "d", user, item, rating, np.zeros(len(user), int))
    model, ndcg, users = judged(dataset, RankingHoldout(0, 12, 1.0, 1.0, 0.3))
    assert 0 < ndcg <= 1
    assert 0 < users <= 20
    assert torch.isfinite(model.vectors["users"]).all()


@pytest.mark.parametrize(
    ("num_train", "num_valid", "expected"),
    [(2000, 0, None), (2000, 300, None), (8000, 0, 0.1), (8000, 600, 0.0), (8000, 300, 0.1)],
)
def test_the_validation_split_judges_if_it_has_enough(tmp_path, num_train, num_valid, expected):
    user, item, rating = low_rank_ratings(300, 90, 16_000)
    order = np.random.default_rng(0).permutation(len(user))
    split = np.full(len(user), 2)
    split[order[:num_train]], split[order[num_train : num_train + num_valid]] = 0, 1
    dataset = write_dataset(tmp_path / "d", user, item, rating, split)
    holdout = RankingHoldout.of(dataset.manifest, seed=0)
    assert (None if holdout is None else holdout.withheld_share) == expected


def test_large_data_is_sampled(dataset):
    manifest = dataset.manifest.model_copy(
        update={"num_users": 1_000_000, "num_ratings": {"train": 100_000_000, "valid": 0, "test": 0}}
    )
    holdout = RankingHoldout.of(manifest, seed=0)
    assert holdout.sampled_share == pytest.approx(0.01)
    assert holdout.judged_share == pytest.approx(0.004)
    users = np.arange(1_000_000)
    assert holdout.is_judged(users).mean() == pytest.approx(0.004, rel=0.1)
    assert holdout.is_trained(users, users % 60).mean() == pytest.approx(0.01, rel=0.1)
