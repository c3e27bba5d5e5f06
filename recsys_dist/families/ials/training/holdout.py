"""The ratings that the search trains on and those that it judges by: functions of seed, user and item alone.

    sampled users   enough for `SAMPLE_RATINGS` train ratings
    judged users    some of them, so that about `JUDGED_USERS` have a rating to judge by
    withheld        `SHARE` of the train ratings of judged users; none if the validation split has enough

N ratings
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import Manifest
from recsys_dist.families.tuning_holdout import LEAST_RATINGS
from recsys_dist.kernels.keyed_random import keyed_mask, keyed_uniform

USERS_STREAM, RATINGS_STREAM = 7, 8
"""Second seeds next to the run's, so that the draws differ from all other draws."""
SAMPLE_RATINGS = 1_000_000
JUDGED_USERS = 4_000
SHARE = 0.1


@dataclass(frozen=True)
class RankingHoldout:
    """The draws of a run."""

    seed: int
    num_items: int
    sampled_share: float
    """Share of the users whose ratings are trained on."""
    judged_share: float
    """Share of the users whose lists are judged."""
    withheld_share: float
    """Share of the train ratings of a judged user that are withheld; 0: the validation split is judged by."""

    @classmethod
    def of(cls, manifest: Manifest, seed: int) -> RankingHoldout | None:
        """The draws for a dataset; None if it has too few ratings to judge by."""
        num_train, num_valid = manifest.num_ratings["train"], manifest.num_ratings.get("valid", 0)
        sampled = min(1.0, SAMPLE_RATINGS / num_train)
        for withheld_share, num_withheld in ((0.0, num_valid), (SHARE, SHARE * num_train)):
            # A user with few ratings may have none to judge by.
            judged = min(sampled, JUDGED_USERS / min(manifest.num_users, max(1, num_withheld)))
            if judged * num_withheld >= LEAST_RATINGS:
                return cls(seed, manifest.num_items, sampled, judged, withheld_share)
        return None

    def is_trained(self, user_N: NDArray[np.integer], item_N: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether the search trains on each train rating: [N]"""
        trained_N: NDArray[np.bool_] = self._place_of(user_N) < self.sampled_share
        return trained_N & ~self.is_withheld(user_N, item_N)

    def is_judged(self, user_N: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether the lists of each user are judged: [N]"""
        judged_N: NDArray[np.bool_] = self._place_of(user_N) < self.judged_share
        return judged_N

    def is_withheld(self, user_N: NDArray[np.integer], item_N: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Whether each train rating is withheld to judge by: [N]"""
        if not self.withheld_share:
            return np.zeros(len(user_N), np.bool_)
        pair_N = user_N.astype(np.int64) * self.num_items + item_N
        withheld_N: NDArray[np.bool_] = keyed_mask((self.seed, RATINGS_STREAM), pair_N, self.withheld_share)
        return withheld_N & self.is_judged(user_N)

    def _place_of(self, user_N: NDArray[np.integer]) -> NDArray[np.float64]:
        return keyed_uniform((self.seed, USERS_STREAM), user_N)
