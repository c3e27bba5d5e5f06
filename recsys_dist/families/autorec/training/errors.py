"""Errors of an AutoRec on held-out pairs, predicted by all ranks together."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.loader import RowBatch, slice_rows
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.autorec.network.network import Autorec
from recsys_dist.families.autorec.training.ratings import AutorecRatings, chunks
from recsys_dist.kernels.sparse import Csr
from recsys_dist.metrics import ErrorSums


def prediction_errors(
    model: Autorec,
    ratings: AutorecRatings,
    pairs_of_blocks: Sequence[Block],
    is_sharded: bool,
    collectives: Collectives,
) -> ErrorSums:
    """Errors over all ranks, each with the pairs of its own rows or columns: one block per block of `ratings`."""
    sums = ErrorSums()
    for block, pairs in zip(ratings.loader.blocks, pairs_of_blocks, strict=True):
        for start, stop in chunks(block, is_sharded):
            pairs_here = slice_rows(pairs, start, stop)
            # With sharded columns all ranks must take part, even those without pairs.
            if len(pairs_here.values) or is_sharded:
                sums += _chunk_errors(model, ratings, slice_rows(block, start, stop), pairs_here)
    local = torch.tensor(
        [sums.squared, sums.absolute, sums.count], dtype=torch.float64, device=collectives.world.device
    )
    return error_sums(collectives.sum_(local))


def _chunk_errors(model: Autorec, ratings: AutorecRatings, rows: RowBatch, pairs: RowBatch) -> ErrorSums:
    first = int(rows.rows[0]) - ratings.loader.first_row
    facts = ratings.row_facts.at(slice(first, first + len(rows.rows)))
    predicted_N = model.predict(_csr(model, rows), facts, _csr(model, pairs))
    return ErrorSums.of(predicted_N.cpu().numpy(), pairs.values)


def _csr(model: Autorec, rows: RowBatch) -> Csr:
    table_CH = model.decoder
    return Csr.from_numpy(rows.indptr, rows.indices, rows.values, len(table_CH), table_CH.device)


def error_sums(sums_3: torch.Tensor) -> ErrorSums:
    """`ErrorSums` from a tensor of squared errors, absolute errors and their count."""
    squared, absolute, count = sums_3.tolist()
    return ErrorSums(squared, absolute, int(count))
