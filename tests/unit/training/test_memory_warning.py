"""Ranks of unequal memory: the one that lacks most is named."""

from __future__ import annotations

import pytest

from recsys_dist.training.memory import warn_of_lack
from recsys_dist.training.plan import Plan, PlannedRank

GB = 10**9


def plan_of(*needed: int) -> Plan:
    ranks = tuple(PlannedRank(memory={"process": GB, "tables": one}, received_bytes=0) for one in needed)
    return Plan(kind="mf", dataset_digest="0", ranks=ranks, checkpoint_bytes=1)


def test_the_rank_that_lacks_most_is_named(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_lack(plan_of(2 * GB, 3 * GB, 2 * GB), [1_500_000_000, GB, None])
    assert "rank 1 needs about 3 GB, but 1 GB are free" in caplog.text


def test_what_fits_or_is_unknown_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_lack(plan_of(2 * GB, 3 * GB), [2 * GB, None])
    assert not caplog.text
