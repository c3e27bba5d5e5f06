"""Tuning holdout: train ratings withheld during a search, to judge its candidates.

All families withhold the same share. For AutoRec the draw depends only on the seed and the rating, so it is the
same on any number of ranks; for matrix factorization see families/mf/ranks/rating_shards.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys_dist.dataset.blocks import Block
from recsys_dist.dataset.manifest import Manifest
from recsys_dist.kernels.keyed_random import keyed_mask

HOLDOUT_STREAM = 5
"""Second seed next to the run's, so that the draws differ from all other draws."""
MOST_SHARE, MOST_RATINGS, LEAST_RATINGS = 0.05, 100_000, 500


def can_judge(manifest: Manifest) -> bool:
    """Whether the validation split, or else a tuning holdout, has enough ratings to judge by."""
    return _can_judge_by_valid(manifest) or tuning_holdout_share(manifest) > 0


def tuning_holdout_share(manifest: Manifest) -> float:
    """Share of the train ratings to withhold; 0 if the validation split suffices or the holdout is too small."""
    num_ratings = manifest.num_ratings["train"]
    share = min(MOST_SHARE, MOST_RATINGS / max(1, num_ratings))
    return 0.0 if _can_judge_by_valid(manifest) or share * num_ratings < LEAST_RATINGS else share


def _can_judge_by_valid(manifest: Manifest) -> bool:
    # Users that are held out whole have no train rating: their errors say nothing about users that have.
    return not manifest.holds_out_users and manifest.num_ratings.get("valid", 0) >= LEAST_RATINGS


@dataclass(frozen=True)
class TuningHoldout:
    """Withholds each rating with probability `share`; rows have `num_columns` columns."""

    share: float
    seed: int
    num_columns: int

    def part(self, block: Block, first_column: int = 0) -> tuple[Block, Block]:
        """Split a block into train ratings and withheld ratings; its columns start at `first_column`."""
        row_N = np.repeat(np.arange(block.start, block.start + block.num_rows), np.diff(block.indptr))
        place_N = row_N * self.num_columns + (block.indices.astype(np.int64) + first_column)
        withheld_N = keyed_mask((self.seed, HOLDOUT_STREAM), place_N, self.share)
        return block.only(~withheld_N), block.only(withheld_N)
