"""Memory of the exact solution: how much a rank needs, whether it has it, and how many items would fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_dist.dataset.manifest import Shard
from recsys_dist.errors import ConfigError
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.families.ease.training.gram import DENSE_BYTES, DENSE_SHARE
from recsys_dist.families.ease.training.layout import MOST_WIDTH, BlockLayout
from recsys_dist.families.ease.training.state import Method
from recsys_dist.protocols.family import TrainingSetup
from recsys_dist.protocols.plan import PlanSetup

FLOAT, INDEX = 4, 4
INTERACTION_BYTES = 40
"""Bytes of an interaction: by user and by item, in float32 and float64."""
PANELS = 8
"""Block columns, in float32, that a rank holds besides the matrix: sent, gathered, ordered, multiplied."""


@dataclass(frozen=True)
class Need:
    """What the memory of a rank depends on, besides the number of items."""

    num_ranks: int
    num_users: int
    num_interactions: int
    settings: EaseSettings
    dense_items: int | None = None
    """The most items whose interactions are dense; None: all."""

    def exact_bytes(self, num_items: int) -> int:
        """Bytes of the rank that needs most."""
        return sum(self.exact_parts(num_items).values())

    def exact_parts(self, num_items: int) -> dict[str, int]:
        """The same, by what they are for."""
        layout = BlockLayout(num_items, self.num_ranks)
        stored = max(
            sum(map(layout.stored_rows, layout.columns_of(rank))) * layout.width for rank in range(self.num_ranks)
        )
        most_items = -(-layout.count // self.num_ranks) * layout.width
        keep = self.settings.keep_of(num_items)
        dense = num_items if self.dense_items is None else min(num_items, self.dense_items)
        return {
            "matrix of items": stored * FLOAT,
            "weights": most_items * keep * (FLOAT if keep == num_items else FLOAT + INDEX),
            "block columns": PANELS * layout.num_rows * layout.width * FLOAT,
            "dense interactions": min(DENSE_BYTES, self.num_users // self.num_ranks * dense * FLOAT),
            "interactions": self.num_interactions // self.num_ranks * INTERACTION_BYTES,
        }

    def most_items(self, num_bytes: int) -> int:
        """The largest number of items for which `num_bytes` suffice; 0 if none."""
        fits, too_many = 0, 1
        while self.exact_bytes(too_many) <= num_bytes:
            too_many *= 2
        while too_many - fits > 1:
            tried = (fits + too_many) // 2
            fits, too_many = (tried, too_many) if self.exact_bytes(tried) <= num_bytes else (fits, tried)
        return fits


def choose_method(setup: TrainingSetup[EaseSettings]) -> Method:
    """The method of a training, the same on all ranks. Raises `ConfigError` if `exact` does not fit the memory."""
    planned = setup.planned()
    refusal = exact_refusal(planned)
    if refusal is not None:
        raise ConfigError(refusal)
    return method_of(planned)


def method_of(setup: PlanSetup[EaseSettings]) -> Method:
    """The method that the settings name, or else exact if it fits the memory of all ranks."""
    if setup.settings.method == "auto":
        return "exact" if _fits(setup) else "sparse"
    return setup.settings.method


def exact_refusal(setup: PlanSetup[EaseSettings]) -> str | None:
    """The refusal of the method exact, if it is asked for; None if it fits."""
    rank = setup.tightest
    if setup.settings.method != "exact" or rank is None or _fits(setup):
        return None
    free = setup.free[rank]
    assert free is not None, "the tightest rank is one whose memory is known"
    return _refusal(need_of(setup), setup.dataset.num_items, rank, free, setup.memory_limit)


def need_of(setup: PlanSetup[EaseSettings]) -> Need:
    """What a rank needs on this dataset."""
    dataset = setup.dataset
    dense = dense_items(dataset.shards("items"), dataset.num_users)
    return Need(setup.num_ranks, dataset.num_users, dataset.manifest.num_ratings["train"], setup.settings, dense)


def dense_items(shards: Sequence[Shard], num_users: int) -> int:
    """The most items in blocks of items that are multiplied as dense ones (gram.py), by falling popularity."""
    least = DENSE_SHARE * num_users
    for shard in shards:
        if shard.num_ratings < least * shard.num_rows:
            most = shard.start + min(shard.num_rows, int(shard.num_ratings / max(1.0, least)))
            # Less than half a block of them is no block.
            return most if shard.start or most >= MOST_WIDTH // 2 else 0
    return shards[-1].stop


def _fits(setup: PlanSetup[EaseSettings]) -> bool:
    rank = setup.tightest
    free = None if rank is None else setup.free[rank]
    return free is None or need_of(setup).exact_bytes(setup.dataset.num_items) <= free


def _refusal(need: Need, num_items: int, rank: int, free: int, limit: int | None) -> str:
    bound = f"training.memory_limit is {free / 1e9:.3g} GB" if free == limit else f"{free / 1e9:.3g} GB are free"
    return (
        f"model.method: exact needs {need.exact_bytes(num_items) / 1e9:.3g} GB on rank {rank} for {num_items:,} "
        f"items, but {bound}; at most {need.most_items(free):,} items fit {need.num_ranks} "
        f"rank{'s' * (need.num_ranks > 1)}; use more ranks on more machines, or method: sparse"
    )
