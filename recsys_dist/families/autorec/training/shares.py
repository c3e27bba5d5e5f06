"""How ranks share an AutoRec, and the communication it costs.

    R rows, C columns, H hidden units (H_0 .. H_L in several layers, P parameters between them), B rows of a batch,
    S steps of an epoch, w ranks

    ddp       parameters replicated, rows sharded: each step all-reduces the gradients of all parameters
    sharded   columns sharded with their parameters, rows replicated: each batch all-reduces B x H hidden units in
              the forward pass and their gradients in the backward pass

In an all-reduce of n bytes each rank receives 2 (w - 1) / w n bytes, so an epoch costs 2 (w - 1) / w times

    ddp       4 S (2 C H + C + H)             sharded   8 R H
    in layers 4 S (C H_0 + C H_L + C + H_0 + P)         4 R (H_0 + H_L)         tied: without C H_L

`parallel: auto` takes the smaller one.

Columns are assigned to ranks by cost: their ratings once per epoch, plus their parameters at each step, since the
optimizer updates a column whether or not it has ratings in the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.loader import other_side
from recsys_dist.dataset.manifest import Shard, Side
from recsys_dist.dataset.sharding import row_ranges, share_shards
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.column_parallel import sum_backward, sum_forward
from recsys_dist.families.autorec.network.network import ColumnExchange
from recsys_dist.families.autorec.settings import AutorecSettings

FLOAT_BYTES = 4
COLUMN_COST = 3
"""Cost of one optimizer step on the parameters of one column, in ratings (measured with Adam and H = 500)."""
USUAL_ROWS = {"items": 256, "users": 1024}
USUAL_RATINGS, USUAL_STEPS = 32_768, 48
"""A batch by default: `USUAL_ROWS` rows; or `USUAL_RATINGS` ratings, if that makes fewer batches, though at least
`USUAL_STEPS`. A step costs as much as `COLUMN_COST` ratings of each column, so many batches of short rows would
cost far more than their ratings."""


def parameter_bytes(num_columns: int, settings: AutorecSettings) -> int:
    """Bytes of encoder, decoder, layers and biases, and so of their gradients in an all-reduce."""
    first, last = settings.hidden[0], settings.hidden[-1]
    per_column = first + (0 if settings.tied else last) + 1
    return FLOAT_BYTES * (num_columns * per_column + first) + layer_bytes(settings)


def layer_bytes(settings: AutorecSettings) -> int:
    """Bytes of the layers between the first and the last hidden units, with their biases."""
    return FLOAT_BYTES * sum((before + 1) * units for before, units in itertools.pairwise(settings.hidden))


def hidden_bytes(num_rows: int, settings: AutorecSettings) -> int:
    """Bytes all-reduced for `num_rows` rows: hidden units forward, and their gradients backward."""
    return FLOAT_BYTES * num_rows * (settings.hidden[0] + settings.hidden[-1])


def is_sharded(dataset: Dataset, settings: AutorecSettings, world_size: int) -> bool:
    """Whether columns are sharded: as set, or by the lower communication cost."""
    if settings.parallel != "auto" or world_size == 1:
        return settings.parallel == "sharded"
    if settings.optimizer == "lbfgs":
        return False
    num_rows, num_columns = (
        dataset.num_rows(side) for side in (settings.orientation, other_side(settings.orientation))
    )
    steps = num_optimizer_steps(dataset, settings)
    return hidden_bytes(num_rows, settings) < steps * parameter_bytes(num_columns, settings)


def num_batches(dataset: Dataset, settings: AutorecSettings) -> int:
    """Batches of an epoch."""
    return batches_of(dataset.num_rows(settings.orientation), dataset.manifest.num_ratings["train"], settings)


def batches_of(num_rows: int, num_ratings: int, settings: AutorecSettings) -> int:
    """Batches of an epoch, of about `batch_ratings` ratings and at least one row each."""
    if settings.batch_ratings is not None:
        return max(1, min(num_rows, -(-num_ratings // settings.batch_ratings)))
    by_rows = -(-num_rows // USUAL_ROWS[settings.orientation])
    by_ratings = max(USUAL_STEPS, -(-num_ratings // USUAL_RATINGS))
    return min(by_rows, by_ratings)


def num_optimizer_steps(dataset: Dataset, settings: AutorecSettings) -> int:
    """S: steps of an epoch."""
    return 1 if settings.is_full_batch else -(-num_batches(dataset, settings) // settings.accumulation)


@dataclass(frozen=True)
class Shares:
    """The part of one rank."""

    is_sharded: bool
    row_shards: range
    """Row shards of this rank."""
    row_ranges: list[tuple[int, int]]
    """The rows (start, stop) of each rank."""
    columns: tuple[int, int]
    """The columns (start, stop) whose parameters this rank has: its own if they are sharded, else all."""

    @property
    def sums_gradients(self) -> bool:
        """Whether ranks all-reduce the gradients of all parameters."""
        return not self.is_sharded and len(self.row_ranges) > 1

    @classmethod
    def of(cls, dataset: Dataset, settings: AutorecSettings, rank: int, world_size: int) -> Shares:
        """The shares of `rank`."""
        rows: Side = settings.orientation
        columns = other_side(rows)
        row_shares = share_shards(dataset.shards(rows), world_size)
        sharded = is_sharded(dataset, settings, world_size)
        own_columns = (0, dataset.num_rows(columns))
        if sharded:
            steps = num_optimizer_steps(dataset, settings)
            own_columns = column_ranges(dataset.shards(columns), world_size, steps)[rank]
        return cls(sharded, row_shares[rank], row_ranges(dataset.shards(rows), row_shares), own_columns)


def column_ranges(shards: Sequence[Shard], world_size: int, steps: int) -> list[tuple[int, int]]:
    """The columns (start, stop) of each rank, with balanced cost in an epoch of `steps` steps.

    Assumes evenly distributed ratings within a shard. With more ranks than columns, some ranks get none.
    """
    costs = [shard.num_ratings + COLUMN_COST * steps * shard.num_rows for shard in shards]
    cost_edges = np.concatenate([[0.0], np.cumsum(costs)])
    column_edges = [0, *(shard.stop for shard in shards)]
    targets = cost_edges[-1] * np.arange(world_size + 1) / world_size
    cuts = np.interp(targets, cost_edges, column_edges).round().astype(int).tolist()
    return list(itertools.pairwise(cuts))


def column_exchange(shares: Shares, collectives: Collectives) -> ColumnExchange | None:
    """The all-reduces for sharded columns; None if each rank has all columns."""
    if not shares.is_sharded:
        return None
    return ColumnExchange(
        partial(sum_forward, collectives=collectives), partial(sum_backward, collectives=collectives)
    )
