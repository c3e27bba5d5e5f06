"""Lists of a pruned search against a plain sort of all scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_dist.inference.pruning import running_best
from recsys_dist.inference.pruning.search import PrunedSearch
from recsys_dist.kernels.exact_product import TileProduct
from recsys_dist.protocols.scorer import ItemVectors

NOBODY = (np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass
class Products:
    """A scorer whose users are their vectors."""

    item_vectors: ItemVectors

    def user_vectors(self, users: torch.Tensor) -> torch.Tensor:
        return users


def brute_force(vector_BK, items: ItemVectors, item_V, n: int, seen) -> list[list[tuple[float, int]]]:
    """(score, item) of the n best of each user, best first, equal scores by item."""
    # Eight rows more, since libraries sum in another order for fewer.
    rows = torch.cat([vector_BK, vector_BK.new_zeros(8, vector_BK.shape[1])])
    score_BI = torch.addmm(items.bias_I, rows, items.vector_IK.T)
    hidden = set(zip(*(index.tolist() for index in seen), strict=True))
    return [
        sorted(
            ((score_BI[user, item].item(), item) for item in item_V.tolist() if (user, item) not in hidden),
            key=lambda one: (-one[0], one[1]),
        )[:n]
        for user in range(len(vector_BK))
    ]


def searched(search: PrunedSearch, vector_BK, seen) -> list[list[tuple[float, int]]]:
    best = search.best(vector_BK, [seen])
    assert best is not None
    item_Bn, score_Bn = best
    return [
        [(score, item) for item, score in zip(items, scores, strict=True) if score != -np.inf]
        for items, scores in zip(item_Bn.tolist(), score_Bn.tolist(), strict=True)
    ]


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_users=st.integers(1, 40),
    num_items=st.integers(1, 300),
    width=st.integers(1, 6),
    n=st.integers(1, 70),
    largest=st.integers(0, 3),
    share_seen=st.sampled_from([0.0, 0.2, 0.95]),
    share_listed=st.sampled_from([0.3, 1.0]),
    tile=st.sampled_from([32, 64]),
)
def test_lists_are_those_of_a_sort_whatever_ties(
    seed, num_users, num_items, width, n, largest, share_seen, share_listed, tile
):
    # Small whole numbers give many equal scores and no rounding.
    rng = np.random.default_rng(seed)

    def whole(*shape: int) -> torch.Tensor:
        return torch.from_numpy(rng.integers(-largest, largest + 1, shape).astype(np.float32))

    vector_BK, vector_IK = whole(num_users, width), whole(num_items, width)
    vector_IK[rng.random(num_items) < 0.3] = vector_IK[0].clone()
    items = ItemVectors(vector_IK, whole(num_items) * float(rng.integers(0, 2)))
    listed = rng.random(num_items) < share_listed
    listed[rng.integers(num_items)] = True
    item_V = torch.from_numpy(np.flatnonzero(listed))
    seen = np.nonzero(rng.random((num_users, num_items)) < share_seen)

    found = searched(PrunedSearch(Products(items), item_V, n, vector_BK, tile), vector_BK, seen)

    assert found == brute_force(vector_BK, items, item_V, n, seen)


@pytest.mark.parametrize("width", [1, 3, 16, 64, 200, 512])
@pytest.mark.parametrize("decay", [0.0, 1.5], ids=["equal norms", "few large norms"])
def test_lists_have_the_bits_of_one_product_of_all(width, decay):
    generator = torch.Generator().manual_seed(width)
    scale_I1 = torch.arange(1, 1501).pow(-decay).unsqueeze(1)
    items = ItemVectors(
        scale_I1 * torch.randn((1500, width), generator=generator), 0.1 * torch.randn(1500, generator=generator)
    )
    vector_BK = torch.randn((30, width), generator=generator) * torch.rand((30, 1), generator=generator)
    seen = np.nonzero(np.random.default_rng(0).random((30, 1500)) < 0.3)
    every = torch.arange(1500)
    search = PrunedSearch(Products(items), every, 10, vector_BK, 64)

    # Also users of larger and smaller norms than those by which items are sorted
    for factor in (1.0, 0.01, 30.0, 0.0):
        expected = brute_force(factor * vector_BK, items, every, 10, seen)
        assert searched(search, factor * vector_BK, seen) == expected


def test_items_that_cannot_be_listed_are_not_scored(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    scale_I1 = torch.tensor([1.0] * 64 + [0.01] * 936).unsqueeze(1)
    items = ItemVectors(scale_I1 * torch.randn((1000, 8), generator=generator), torch.zeros(1000))
    scored = []
    product = TileProduct.__call__

    def counted(self, vector_RK, vector_TK, bias_T):
        scored.append(len(vector_RK) * len(vector_TK))
        return product(self, vector_RK, vector_TK, bias_T)

    monkeypatch.setattr(TileProduct, "__call__", counted)
    vector_BK = torch.randn((50, 8), generator=generator)

    found = searched(PrunedSearch(Products(items), torch.arange(1000), 5, vector_BK, 64), vector_BK, NOBODY)

    assert sum(scored) < 2 * 50 * 64
    assert found == brute_force(vector_BK, items, torch.arange(1000), 5, NOBODY)


def test_equal_scores_everywhere_are_not_all_entered(monkeypatch):
    entered = []
    wait = running_best.RunningBest._wait

    def counted(self, row_N, key_N):
        entered.append(len(row_N))
        wait(self, row_N, key_N)

    monkeypatch.setattr(running_best.RunningBest, "_wait", counted)
    items = ItemVectors(torch.ones(1000, 2), torch.zeros(1000))

    found = searched(
        PrunedSearch(Products(items), torch.arange(1000), 5, torch.ones(9, 2), 64), torch.ones(9, 2), NOBODY
    )

    assert found == [[(2.0, item) for item in range(5)]] * 9
    assert sum(entered) <= 9 * 64


@pytest.mark.parametrize("where", ["users", "vectors", "biases"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_scores_that_are_not_finite_are_left_to_others(where, value):
    vector_BK, vector_IK, bias_I = torch.ones(9, 2), torch.ones(100, 2), torch.ones(100)
    if value == 1e30:
        vector_BK *= 1e10
    {"users": vector_BK, "vectors": vector_IK, "biases": bias_I}[where][7 if where != "biases" else (7,)] = value
    scorer = Products(ItemVectors(vector_IK, bias_I))
    overflows = value != 1e30 or where == "vectors"

    assert (
        PrunedSearch(scorer, torch.arange(100), 3, vector_BK, 32).best(vector_BK, [NOBODY]) is None
    ) == overflows
