"""What the plan of a matrix factorization is measured on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from recsys_dist.dataset.manifest import SIDES
from recsys_dist.families.mf.plan import SAMPLE_RATINGS, _thinned
from recsys_dist.families.mf.ranks.rating_matrix import sides_of


def manifest(num_users: float, num_items: float, num_ratings: float) -> Any:
    return SimpleNamespace(num_users=num_users, num_items=num_items, num_ratings={"train": num_ratings})


@pytest.mark.parametrize(
    "whole",
    [
        manifest(270_000, 45_000, 27e6),
        manifest(1e6, 200_000, 1e9),
        manifest(22_000, 233_000, 9e5),
        manifest(9, 17, 40),
    ],
    ids=["long", "very long", "far more items", "tiny"],
)
def test_the_side_that_stays_is_the_same_in_a_sample(whole: Any) -> None:
    thinned = _thinned(whole)
    share = min(1.0, 2 * SAMPLE_RATINGS / whole.num_ratings["train"])
    each = share if len(thinned) == 1 else share**0.5
    sizes = {f"num_{side}": getattr(whole, f"num_{side}") * (each if side in thinned else 1) for side in SIDES}
    assert sides_of(manifest(**sizes, num_ratings=SAMPLE_RATINGS)) == sides_of(whole)
