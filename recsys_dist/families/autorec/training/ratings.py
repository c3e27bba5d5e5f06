"""Train ratings of an AutoRec on one rank, and the biases of all ranks' ratings.

With `parallel: ddp` a rank holds some rows, whole. With `sharded` it holds its own columns of all rows; it also
reads its share of whole rows to compute their biases and lengths, which are all-gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.loader import RowLoader, held_out_blocks, other_side, row_chunks, transposed_blocks
from recsys_dist.dataset.sharding import shards_across
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.autorec.network.encoder import Baseline, InputForm, RowFacts
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.shares import Shares, num_batches
from recsys_dist.families.tuning_holdout import TuningHoldout, tuning_holdout_share
from recsys_dist.kernels.biases import SWEEPS, Biases
from recsys_dist.kernels.sparse import Csr

CHUNK_ROWS = 4096
CHUNK_RATINGS = 1 << 19


@dataclass(frozen=True)
class AutorecRatings:
    """The ratings of one rank, and statistics over all ranks."""

    loader: RowLoader
    withheld: list[Block]
    """The tuning holdout, one block per block of the loader; empty if nothing is withheld."""
    num_ratings: int
    """Train ratings of all ranks."""
    baseline: Baseline
    """Without implicit_input, which the trainer sets."""
    column_shrinkage: float
    row_facts: RowFacts
    """Facts of all rows that this rank sees."""

    @classmethod
    def read(
        cls,
        dataset: Dataset,
        settings: AutorecSettings,
        shares: Shares,
        seed: int,
        collectives: Collectives,
        withholds: bool,
    ) -> AutorecRatings:
        """Read the ratings and fit the baseline. Collective: all ranks must call it."""
        share = tuning_holdout_share(dataset.manifest) if withholds else 0.0
        loader, own_blocks, withheld = collectives.together(
            "reading the train ratings", lambda: _open(dataset, settings, shares, seed, share)
        )
        device, rows = collectives.world.device, settings.orientation
        count = torch.tensor(sum(block.num_ratings for block in loader.blocks), dtype=torch.int64, device=device)
        num_ratings = int(collectives.sum_(count))
        num_columns = dataset.num_rows(other_side(rows))
        biases = fit_biases(own_blocks, num_columns, dataset.manifest.rating.mean, collectives)
        mean_length = num_ratings / dataset.num_rows(rows)
        form = InputForm(
            settings.centring, length_normalization=settings.length_normalization, mean_length=mean_length
        )
        baseline = Baseline.of(biases, form, device)
        facts = _facts_of(own_blocks, baseline, num_columns, device)
        if shares.is_sharded:
            facts = RowFacts(*(collectives.gather_rows(part, shares.row_ranges) for part in facts))
        return cls(loader, withheld, num_ratings, baseline, biases.column_shrinkage, facts)


def _open(
    dataset: Dataset, settings: AutorecSettings, shares: Shares, seed: int, share: float
) -> tuple[RowLoader, Sequence[Block], list[Block]]:
    """The loader of this rank's train ratings, its whole rows, and the withheld part of the loader's ratings."""
    rows, steps = settings.orientation, num_batches(dataset, settings)
    if not shares.is_sharded:
        loader = RowLoader.of_rows(dataset, rows, shares.row_shards, steps, seed)
        own: Sequence[Block] = loader.blocks
    else:
        loader = RowLoader.of_columns(dataset, rows, shares.columns, steps, seed)
        own = [dataset.block(rows, shard) for shard in shares.row_shards]
    if not share:
        return loader, own, []
    withheld = TuningHoldout(share, seed, dataset.num_rows(other_side(rows)))
    parts = [withheld.part(block, shares.columns[0]) for block in loader.blocks]
    loader.blocks = [left for left, _ in parts]
    own = [withheld.part(block)[0] for block in own] if shares.is_sharded else loader.blocks
    return loader, own, [held for _, held in parts]


def _facts_of(blocks: Sequence[Block], baseline: Baseline, num_columns: int, device: torch.device) -> RowFacts:
    """Facts of whole rows, block by block."""
    nothing = torch.zeros(0, dtype=torch.float32, device=device)
    own = [
        baseline.row_facts(Csr.from_numpy(block.indptr, block.indices, block.values, num_columns, device))
        for block in blocks
    ]
    return RowFacts(*(torch.cat(parts) for parts in zip((nothing, nothing), *own, strict=True)))


def valid_blocks(dataset: Dataset, settings: AutorecSettings, shares: Shares, loader: RowLoader) -> list[Block]:
    """Validation ratings of this rank's rows or columns, one block per block of its loader."""
    rows = settings.orientation
    if not shares.is_sharded:
        return held_out_blocks(dataset, "valid", rows, shares.row_shards)
    columns = other_side(rows)
    share = shards_across(dataset.shards(columns), *shares.columns)
    by_column = [block.within(*shares.columns) for block in held_out_blocks(dataset, "valid", columns, share)]
    return transposed_blocks(by_column, loader.shards)


def chunks(block: Block, is_sharded: bool) -> Iterator[tuple[int, int]]:
    """Ranges of rows of a block to predict at once."""
    if is_sharded:
        # The same ranges on every rank, independent of its columns.
        return ((start, min(start + CHUNK_ROWS, block.num_rows)) for start in range(0, block.num_rows, CHUNK_ROWS))
    return row_chunks(block, CHUNK_ROWS, CHUNK_RATINGS)


def fit_biases(blocks: Sequence[Block], num_columns: int, mean: float, collectives: Collectives) -> Biases:
    """Fit the biases, with float64 sums. Collective: all ranks must call it."""
    biases = Biases(mean, np.zeros(num_columns))
    for _ in range(SWEEPS):
        sums = torch.from_numpy(biases.sums(blocks)).to(collectives.world.device)
        biases = biases.after(collectives.sum_(sums).cpu().numpy())
    return biases
