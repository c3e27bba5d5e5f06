"""Plan of an AutoRec: memory, traffic, checkpoint and work of each rank.

R rows, C columns of a rank, N ratings of a rank, H hidden units
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from recsys_dist.dataset.loader import other_side
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.lbfgs import HISTORY
from recsys_dist.families.autorec.training.requirements import Copies, copies_of, room_refusal
from recsys_dist.families.autorec.training.search import first_choice
from recsys_dist.families.autorec.training.shares import (
    FLOAT_BYTES,
    Shares,
    hidden_bytes,
    layer_bytes,
    num_batches,
    num_optimizer_steps,
    parameter_bytes,
)
from recsys_dist.protocols.plan import ModelPlan, PlanSetup, RankPlan, Saving

ENTRY_BYTES = 8
"""Bytes of a rating in a block: column and value."""
BATCH_ENTRY_BYTES, BATCHES = 96, 2
"""Bytes of a rating of a batch: pattern, transpose, input, errors; and batches at a time, one being prepared."""
ROW_TENSORS = 6
"""Tensors of hidden units of a batch, with their gradients."""
BIAS_BYTES = 32
"""Bytes of a rating while the biases are fitted."""
ENTRY_NS, COLUMN_NS, LAYER_NS = 0.25, 2.8, 0.1
"""Nanoseconds of a hidden unit: of a rating, of a column in a step, and of one of H^2 of a row between layers."""
RATING_NS, ROW_NS, BATCH_NS = 75.0, 1000.0, 40_000.0
"""Nanoseconds of a rating, a row and a batch beside them."""
SAVED_COPIES = {"adam": 3, "rowwise_rmsprop": 1, "rprop": 3, "lbfgs": 3 + 2 * HISTORY}
"""Copies of the parameters in a checkpoint; with L-BFGS after `HISTORY` steps."""


def plan_autorec(setup: PlanSetup[AutorecSettings]) -> ModelPlan[AutorecSettings]:
    """The plan without tuning."""
    settings, dataset = setup.settings, setup.dataset
    choice = first_choice(settings)
    given = {name: getattr(choice, name) for name in type(choice).model_fields}
    columns = dataset.num_rows(other_side(settings.orientation))
    return ModelPlan(
        ranks=[_rank(setup, rank) for rank in range(setup.num_ranks)],
        checkpoint={"columns": SAVED_COPIES[settings.optimizer] * parameter_bytes(columns, settings)},
        settled=settings.model_copy(update=given),
        thinned=(settings.orientation,),
        savings=list(_savings(settings)),
        refusal=room_refusal(setup),
    )


def _savings(settings: AutorecSettings) -> Iterator[Saving]:
    if settings.optimizer != "lbfgs" and settings.parallel != "sharded":
        yield "model.parallel", "sharded"
    if settings.optimizer == "lbfgs":
        yield "model.optimizer", "adam"
    if settings.optimizer != "rowwise_rmsprop":
        yield "model.optimizer", "rowwise_rmsprop"
    hidden: Any = settings.hidden
    while hidden[0] > 1:
        hidden = tuple(max(1, units // 2) for units in hidden)
        yield "model.hidden", hidden[0] if len(hidden) == 1 else list(hidden)


def _rank(setup: PlanSetup[AutorecSettings], rank: int) -> RankPlan:
    settings, dataset = setup.settings, setup.dataset
    shares = Shares.of(dataset, settings, rank, setup.num_ranks)
    copies = copies_of(setup, shares)
    num_columns = shares.columns[1] - shares.columns[0]
    shards = dataset.shards(settings.orientation)
    own_ratings = sum(shards[index].num_ratings for index in shares.row_shards)
    # With sharded columns a rank has about its share of every row.
    num_ratings = dataset.manifest.num_ratings["train"] // setup.num_ranks if shares.is_sharded else own_ratings
    first, last = shares.row_ranges[rank]
    num_rows = dataset.num_rows(settings.orientation) if shares.is_sharded else last - first
    batches = num_batches(dataset, settings)
    in_copies = 2 if shares.is_sharded else 1
    batch = BATCHES * BATCH_ENTRY_BYTES * num_ratings // batches + ROW_TENSORS * FLOAT_BYTES * sum(
        settings.hidden
    ) * -(-num_rows // batches)
    biases = BIAS_BYTES * max((shards[index].num_ratings for index in shares.row_shards), default=0)
    return RankPlan(
        tables={**_parameters(num_columns, settings, copies), "ratings": in_copies * num_ratings * ENTRY_BYTES},
        working_bytes=max(batch, biases),
        # The buffers of batches are not returned, and too small for those of files.
        copied_bytes=batch,
        received_bytes=_received(setup, shares, num_columns),
        work=_work(setup, num_ratings, num_rows, num_columns),
    )


def _parameters(num_columns: int, settings: AutorecSettings, copies: Copies) -> dict[str, int]:
    layers = layer_bytes(settings)
    tables = {f"parameters, in {copies.columns} copies": copies.bytes_of(num_columns, settings)}
    if layers:
        tables = {
            f"columns, in {copies.columns} copies": tables.popitem()[1] - copies.layers * layers,
            f"layers between, in {copies.layers} copies": copies.layers * layers,
        }
    return tables


def _received(setup: PlanSetup[AutorecSettings], shares: Shares, num_columns: int) -> int:
    """Bytes of the all-reduces of an epoch, and of the validation after it; see training/shares.py."""
    settings, dataset, ranks = setup.settings, setup.dataset, setup.num_ranks
    if shares.is_sharded:
        # The validation needs no gradients.
        reduced = 3 * hidden_bytes(dataset.num_rows(settings.orientation), settings) // 2
    else:
        reduced = num_optimizer_steps(dataset, settings) * parameter_bytes(num_columns, settings)
    return 2 * (ranks - 1) * reduced // ranks


def _work(setup: PlanSetup[AutorecSettings], num_ratings: int, num_rows: int, num_columns: int) -> float:
    settings = setup.settings
    units = settings.hidden[0] + settings.hidden[-1]
    steps = num_optimizer_steps(setup.dataset, settings)
    between = sum(before * after for before, after in itertools.pairwise(settings.hidden))
    of_ratings = num_ratings * (units / 2 * ENTRY_NS + RATING_NS)
    of_steps = steps * num_columns * units / 2 * COLUMN_NS
    calls = num_batches(setup.dataset, settings) * BATCH_NS
    return of_ratings + of_steps + num_rows * (between * LAYER_NS + ROW_NS) + calls
