"""Plan of EASE: memory, traffic, checkpoint and work of each rank.

n items, J items of the judge of the search, N interactions, K neighbours
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from recsys_dist.dataset.manifest import Shard
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.families.ease.training.judge import MOST_USERS, PAIR_BYTES, num_judged_items
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.ease.training.neighborhoods import NEIGHBOR_ENTRIES, PRODUCT_ENTRIES, SYSTEM_FLOATS
from recsys_dist.families.ease.training.requirements import (
    FLOAT,
    INDEX,
    dense_items,
    exact_refusal,
    method_of,
    need_of,
)
from recsys_dist.families.ease.training.state import Method
from recsys_dist.families.tuning_holdout import can_judge
from recsys_dist.protocols.plan import ModelPlan, PlanSetup, RankPlan, Saving

DOUBLE = 8
SPARSE_INTERACTION_BYTES = 48
"""Bytes of an interaction of all users: read, weighted, by user and by item."""
BATCH_ENTRY_BYTES = 24
"""Bytes of an interaction in the sparse matrices of a batch."""
ENTRY_BYTES = 16
"""Bytes of an entry of a sparse product, with the sorting of its indices."""
TRIALS, GRAMS = 12, 4
"""Trials of a search, about, and the Gramians of its normalizations."""
DENSE_NS, SPARSE_NS = 0.0135, 6.0
"""Nanoseconds of a term of a dense and of a sparse product."""
NEIGHBOR_NS, SYSTEM_NS, ITEM_NS = 65.0, 0.05, 4e4
"""Nanoseconds of an interaction of a neighbour, of one of K^3 of a system, and of an item beside them."""


def plan_ease(setup: PlanSetup[EaseSettings]) -> ModelPlan[EaseSettings]:
    """The plan of the search and the solution."""
    refusal, method = exact_refusal(setup), method_of(setup)
    parts = _parts(setup, method)
    num_items, keep = setup.dataset.num_items, _keep(setup, method)
    most = RankPlan(
        tables=parts,
        working_bytes=max(0, _search_bytes(setup) - sum(parts.values())),
        freed_bytes=sum(parts.values()) - parts["weights"],
        received_bytes=0,
        work=_work(setup, method),
    )
    return ModelPlan(
        ranks=[replace(most, received_bytes=_received(setup, method, rank)) for rank in range(setup.num_ranks)],
        checkpoint={"items": num_items * keep * (FLOAT if keep == num_items else FLOAT + INDEX)},
        settled=setup.settings.model_copy(update={"method": method}),
        thinned=("users", "items"),
        savings=list(_savings(setup, method)),
        refusal=refusal,
        is_whole=True,
        note=f"method {method}" if setup.settings.method == "auto" else None,
    )


def _savings(setup: PlanSetup[EaseSettings], method: Method) -> Iterator[Saving]:
    if method == "exact":
        yield "model.keep", min(1024, setup.dataset.num_items)
        yield "model.method", "sparse"
    else:
        yield "model.neighbors", max(1, setup.settings.neighbors // 2)
        yield "model.neighbors", max(1, setup.settings.neighbors // 4)


def _keep(setup: PlanSetup[EaseSettings], method: Method) -> int:
    """Weights of an item in the model."""
    keep, num_items = setup.settings.keep_of(setup.dataset.num_items), setup.dataset.num_items
    return keep if method == "exact" else min(keep, setup.settings.neighbors, num_items - 1)


def _parts(setup: PlanSetup[EaseSettings], method: Method) -> dict[str, int]:
    need, num_items = need_of(setup), setup.dataset.num_items
    if method == "exact":
        return need.exact_parts(num_items)
    own_items = -(-num_items // setup.num_ranks)
    return {
        "interactions of all users": need.num_interactions * SPARSE_INTERACTION_BYTES,
        "weights": own_items * _keep(setup, method) * (FLOAT + INDEX),
        "a batch of items": _batch_bytes(setup),
    }


def _batch_bytes(setup: PlanSetup[EaseSettings]) -> int:
    """Rows of G, from which neighbours are chosen; then the interactions of these, and their systems."""
    num_items, num_ratings = setup.dataset.num_items, setup.dataset.manifest.num_ratings["train"]
    neighbors = min(setup.settings.neighbors, num_items - 1)
    products = min(PRODUCT_ENTRIES, num_items**2)
    systems = 2 * min(SYSTEM_FLOATS, num_items * neighbors**2)
    # No item is split: it may have the most popular neighbours.
    of_one = round(_share_of_first(setup.dataset.shards("items"), neighbors) * num_ratings)
    entries = max(min(NEIGHBOR_ENTRIES, neighbors * num_ratings), of_one)
    return max(products * ENTRY_BYTES, systems * FLOAT + entries * BATCH_ENTRY_BYTES)


def _searches(setup: PlanSetup[EaseSettings]) -> bool:
    settings = setup.settings
    is_open = None in {
        settings.target,
        settings.regularization,
        settings.user_normalization,
        settings.popularity_discount,
    }
    return is_open and can_judge(setup.dataset.manifest)


def _judged(setup: PlanSetup[EaseSettings]) -> int:
    """J"""
    return min(setup.dataset.num_items, num_judged_items(setup.dataset.num_items, setup.memory_limit))


def _search_bytes(setup: PlanSetup[EaseSettings]) -> int:
    """Bytes of the search on a rank."""
    if not _searches(setup):
        return 0
    interactions = setup.dataset.manifest.num_ratings["train"] // setup.num_ranks * SPARSE_INTERACTION_BYTES
    return PAIR_BYTES * _judged(setup) ** 2 + interactions


def _received(setup: PlanSetup[EaseSettings], method: Method, rank: int) -> int:
    """Sums of the own block columns, whole columns for sweeps and weights, and the Gramians of the search."""
    ranks = setup.num_ranks
    searched = GRAMS * _judged(setup) ** 2 * DOUBLE if _searches(setup) else 0
    received = 2 * (ranks - 1) * searched // ranks
    if method == "sparse" or ranks == 1:
        return received
    layout = BlockLayout(setup.dataset.num_items, ranks)
    own, block = layout.columns_of(rank), layout.width**2
    stored = sum(layout.count - column for column in own)
    # A column that a rank stores is its part of that column and, mirrored, of all later ones.
    others = layout.count**2 - sum(2 * (layout.count - column) - 1 for column in own)
    return received + block * ((ranks - 1) * stored * DOUBLE + 2 * others * FLOAT)


def _work(setup: PlanSetup[EaseSettings], method: Method) -> float:
    dataset, settings, ranks = setup.dataset, setup.settings, setup.num_ranks
    num_items, pairs = dataset.num_items, _pairs_of_interactions(dataset.shards("users"))
    work = 0.0
    if _searches(setup):
        judged = _judged(setup)
        share = _share_of_first(dataset.shards("items"), judged)
        work += TRIALS * (2 * judged**3 + MOST_USERS * judged**2) * DENSE_NS
        work += GRAMS * _gram(setup, pairs * share**2, judged) / ranks
    if method == "exact":
        return work + (num_items**3 * DENSE_NS + _gram(setup, pairs, num_items)) / ranks
    neighbors = min(settings.neighbors, num_items - 1)
    systems = _interactions_of_neighbors(setup, neighbors) * NEIGHBOR_NS
    systems += num_items * (neighbors**3 * SYSTEM_NS + ITEM_NS)
    return work + (pairs * SPARSE_NS + systems) / ranks


def _interactions_of_neighbors(setup: PlanSetup[EaseSettings], most: int) -> float:
    """Interactions of the neighbours of all items.

    An item finds its neighbours among the items of its users, where each appears as often as it has interactions.
    """
    items = setup.dataset.shards("items")
    num_ratings = max(1, sum(shard.num_ratings for shard in items))
    of_neighbor = _pairs_of_interactions(items) / num_ratings
    of_user = num_ratings / max(1, setup.dataset.num_users)
    found = (shard.num_rows * min(most, shard.num_ratings / max(1, shard.num_rows) * of_user) for shard in items)
    return sum(found) * of_neighbor


def _gram(setup: PlanSetup[EaseSettings], pairs: float, num_items: int) -> float:
    """Work of X^T X of the first items, whose users have so many pairs of them."""
    num_users, shards = setup.dataset.num_users, setup.dataset.shards("items")
    dense = min(num_items, dense_items(shards, num_users))
    share = _share_of_first(shards, dense) / max(1e-9, _share_of_first(shards, num_items))
    return num_users * dense**2 / 2 * DENSE_NS + pairs * (1 - share**2) / 2 * SPARSE_NS


def _pairs_of_interactions(shards: Sequence[Shard]) -> float:
    """Sum over rows of the squared number of interactions, which are alike within a shard."""
    return sum(shard.num_ratings**2 / max(1, shard.num_rows) for shard in shards)


def _share_of_first(shards: Sequence[Shard], num_items: int) -> float:
    """Share of the interactions with the first items."""
    inside = sum(
        shard.num_ratings * min(1.0, max(0, num_items - shard.start) / max(1, shard.num_rows)) for shard in shards
    )
    return inside / max(1, sum(shard.num_ratings for shard in shards))
