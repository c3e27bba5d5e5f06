"""Memory of the exact solution: how much a rank needs, whether it has it, and how many items would fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import ConfigError
from recsys_dist.families.ease.settings import EaseSettings
from recsys_dist.families.ease.training.gram import DENSE_BYTES
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.ease.training.state import Method
from recsys_dist.process.free_memory import free_bytes

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

    def exact_bytes(self, num_items: int) -> int:
        """Bytes of the rank that needs most."""
        layout = BlockLayout(num_items, self.num_ranks)
        stored = max(
            sum(map(layout.stored_rows, layout.columns_of(rank))) * layout.width for rank in range(self.num_ranks)
        )
        most_items = -(-layout.count // self.num_ranks) * layout.width
        keep = self.settings.keep_of(num_items)
        weights = most_items * keep * (FLOAT if keep == num_items else FLOAT + INDEX)
        panels = PANELS * layout.num_rows * layout.width * FLOAT
        dense = min(DENSE_BYTES, self.num_users // self.num_ranks * num_items * FLOAT)
        interactions = self.num_interactions // self.num_ranks * INTERACTION_BYTES
        return stored * FLOAT + weights + panels + dense + interactions

    def most_items(self, num_bytes: int) -> int:
        """The largest number of items for which `num_bytes` suffice; 0 if none."""
        fits, too_many = 0, 1
        while self.exact_bytes(too_many) <= num_bytes:
            too_many *= 2
        while too_many - fits > 1:
            tried = (fits + too_many) // 2
            fits, too_many = (tried, too_many) if self.exact_bytes(tried) <= num_bytes else (fits, tried)
        return fits


def choose_method(
    dataset: Dataset, settings: EaseSettings, memory_limit: int | None, collectives: Collectives
) -> Method:
    """The method of a training, the same on all ranks. Raises `ConfigError` if `exact` does not fit the memory."""
    free = collectives.gather_json(free_bytes(collectives.world.device, memory_limit))
    if settings.method == "sparse":
        return "sparse"
    need = Need(collectives.world.size, dataset.num_users, dataset.manifest.num_ratings["train"], settings)
    tight = _tightest(free)
    if tight is None or need.exact_bytes(dataset.num_items) <= free[tight]:
        return "exact"
    if settings.method == "auto":
        return "sparse"
    raise ConfigError(_refusal(need, dataset.num_items, tight, free[tight], memory_limit))


def _tightest(free: Sequence[int | None]) -> int | None:
    """The rank with the least free memory; None if it is unknown of all."""
    known = [(room, rank) for rank, room in enumerate(free) if room is not None]
    return min(known)[1] if known else None


def _refusal(need: Need, num_items: int, rank: int, free: int, limit: int | None) -> str:
    bound = f"training.memory_limit is {free / 1e9:.3g} GB" if free == limit else f"{free / 1e9:.3g} GB are free"
    return (
        f"model.method: exact needs {need.exact_bytes(num_items) / 1e9:.3g} GB on rank {rank} for {num_items:,} "
        f"items, but {bound}; at most {need.most_items(free):,} items fit {need.num_ranks} "
        f"rank{'s' * (need.num_ranks > 1)}; use more ranks on more machines, or method: sparse"
    )
