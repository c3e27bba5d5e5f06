"""Facts that the scorer of iALS needs besides its tables.

users, items        vector [rows + 1, K], bias [rows + 1] = 0; the last row of users is the average user, that of
                    items is 0: an unknown item has the score 0
"""

from __future__ import annotations

from recsys_dist.families.ials.objective import Penalty
from recsys_dist.families.targets import Target
from recsys_dist.strict_model import StrictModel


class IalsFacts(StrictModel):
    """Weights and penalty of the system that folds in a user."""

    target: Target
    penalty: Penalty
