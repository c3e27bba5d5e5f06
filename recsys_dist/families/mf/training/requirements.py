"""Check that the memory limit holds the least block of rows that ranks exchange, before anything is written."""

from __future__ import annotations

from typing import Any

from pydantic import ByteSize

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError
from recsys_dist.families.mf.num_factors import num_factors
from recsys_dist.families.mf.ranks.item_partition import ItemPartition, solve_rows, travel_bytes
from recsys_dist.families.mf.ranks.rating_matrix import RatingMatrix
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.factorization import Factorization
from recsys_dist.families.mf.training.state import MfState
from recsys_dist.protocols.family import TrainingSetup

KIB = 1024
WHOLE_SHARE = 2
"""Users that travel, all at once, may take 1 / WHOLE_SHARE of the memory limit."""


def require_block(setup: TrainingSetup[MfSettings], kind: type[Factorization[Any]]) -> None:
    """Raise `ConfigError` with the least limit that works."""
    if setup.memory_limit is None:
        return
    factors = num_factors(setup.settings, setup.dataset.manifest)
    if setup.start is not None:
        factors = MfState.of(setup.start.values).num_factors
    matrix = rating_matrix(setup.dataset, setup.settings, setup.memory_limit, kind)
    refusal = block_refusal(matrix, factors, setup.memory_limit, kind)
    if refusal is not None:
        raise ConfigError(refusal)


def rating_matrix(
    dataset: Dataset, settings: MfSettings, memory_limit: int | None, kind: type[Factorization[Any]]
) -> RatingMatrix:
    """The ratings, seen from the side that stays under a memory limit."""
    row_bytes = travel_bytes(kind.row_floats(num_factors(settings, dataset.manifest)))
    return RatingMatrix(dataset, None if memory_limit is None else memory_limit // (WHOLE_SHARE * row_bytes))


def item_partition(
    matrix: RatingMatrix, factors: int, kind: type[Factorization[Any]], num_ranks: int, memory_limit: int | None
) -> ItemPartition:
    """The partition of the side that travels: users all at once, items in blocks that fit a memory limit."""
    row_bytes = travel_bytes(kind.row_floats(factors))
    limit = memory_limit if matrix.travelling == "items" else None
    return ItemPartition.of(matrix.num_travelling, kind.rows_at_once(factors), row_bytes, num_ranks, limit)


def block_refusal(
    matrix: RatingMatrix, factors: int, memory_limit: int | None, kind: type[Factorization[Any]]
) -> str | None:
    """The refusal of a limit below one block in exchange, with the least that works; None if it holds one."""
    block = solve_rows(matrix.num_travelling, kind.rows_at_once(factors))
    needed = least_limit(matrix.num_travelling, factors, kind)
    if matrix.travelling == "users":
        # They travel all at once, see sides_of.
        block = matrix.num_travelling
        needed = -(-WHOLE_SHARE * travel_bytes(kind.row_floats(factors)) * block // KIB) * KIB
    if memory_limit is None or memory_limit >= needed:
        return None
    limit = ByteSize(memory_limit).human_readable()
    return (
        f"training.memory_limit is {limit}, but a block of {block:,} {matrix.travelling} with {factors} factors "
        f"needs {needed // KIB}KiB; set at least that"
    )


def least_limit(num_travelling: int, factors: int, kind: type[Factorization[Any]]) -> int:
    """The least memory limit that works, in whole KiB, with so many rows of the side that travels."""
    needed = travel_bytes(kind.row_floats(factors)) * solve_rows(num_travelling, kind.rows_at_once(factors))
    return -(-needed // KIB) * KIB
