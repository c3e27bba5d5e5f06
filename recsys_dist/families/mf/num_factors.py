"""K to begin with where the settings leave it open: two to four for each train rating of an average user or item.

During training the number grows and shrinks, see training/search.py, if there are ratings to judge by.

Rows with few ratings support few factors, and pay for each of them: K^2 numbers in memory and K^3 operations for
each row, whatever its ratings. Test RMSE with K = 8, 16 and 32: 1.476, 1.476, 1.488 on MovieTweetings (3 ratings a
row), .889, .886, .886 on ML-100K (30 a row); with K = 16 and 32: .822 and .818 on ML-1M (93 a row).
"""

from __future__ import annotations

from recsys_dist.dataset.manifest import Manifest
from recsys_dist.families.mf.settings import MfSettings

FEWEST, MOST = 4, 32
FACTORS_A_RATING = 2


def num_factors(settings: MfSettings, manifest: Manifest) -> int:
    """The given number, or the least power of 2 from `FEWEST` to `MOST` with `FACTORS_A_RATING`."""
    if settings.factors != "auto":
        return settings.factors
    factors = FEWEST
    while factors < MOST and factors < FACTORS_A_RATING * mean_length(manifest):
        factors *= 2
    return factors


def mean_length(manifest: Manifest) -> float:
    """Mean number of train ratings of a user or item."""
    return manifest.num_ratings["train"] / max(1, manifest.num_users + manifest.num_items)
