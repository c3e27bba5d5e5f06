"""Exact ranks of timestamps against sorting them."""

import numpy as np
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.settings.split import TimeSplit
from recsys_dist.preparation.shards.splits import LAST
from recsys_dist.preparation.shards.time_cutoffs import Times, count_later, find_cutoffs, sort_times
from recsys_dist.preparation.shards.user_rows import KEPT, Source


def times_of(times):
    """Timestamps, beside the number of times they were counted."""
    times, calls = np.sort(np.array(times, np.int64)), []

    def count(thresholds):
        assert len(thresholds) <= 4096
        calls.append(len(thresholds))
        return len(times) - np.searchsorted(times, thresholds, side="right")

    return Times(len(times), int(times[0]), int(times[-1]), count), times, calls


SPREADS = {
    "few values": lambda rng: rng.integers(0, 200, 5000),
    "seconds of 30 years": lambda rng: rng.integers(0, 10**9, 5000),
    "all of int64": lambda rng: np.append(rng.integers(-(2**63), 2**63, 999, endpoint=False), [-(2**63), LAST]),
    "far apart": lambda _rng: np.repeat(np.array([-(2**63), 5, 6, LAST]), [600, 90, 200, 20]),
}


FRACTIONS = [(0.1, 0.05), (0.3, 0.4), (0.2, 0), (0, 0.1)]
SHARED_BY_MANY = ("far apart", 0.1, 0.05)


def values_of(spread):
    return times_of(SPREADS[spread](np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("spread", "test", "valid"),
    [
        (spread, *fractions)
        for spread in SPREADS
        for fractions in FRACTIONS
        if (spread, *fractions) != SHARED_BY_MANY
    ],
)
def test_as_many_as_fit_the_fraction_and_no_timestamp_is_parted(spread, test, valid):
    times, values, calls = values_of(spread)
    cut = find_cutoffs(TimeSplit(kind="time", test=test, valid=valid), times)
    is_test, is_valid = values > cut.test_after, (values > cut.valid_after) & (values <= cut.test_after)
    for mask, fraction, later in ((is_test, test, np.zeros_like(is_test)), (is_valid, valid, is_test)):
        assert mask.sum() <= fraction * len(values)
        next_value = values[~mask & ~later].max()
        assert mask.sum() + (values == next_value).sum() > fraction * len(values)
        assert mask.any() == (fraction > 0)
    assert len(calls) <= 12


def test_a_timestamp_of_more_ratings_than_the_fraction_leaves_the_split_empty_and_is_refused():
    spread, test, valid = SHARED_BY_MANY
    with pytest.raises(
        DataError, match=r"split\.valid gets no ratings: 0\.05 of 910 ratings are 45, but more share"
    ):
        find_cutoffs(TimeSplit(kind="time", test=test, valid=valid), values_of(spread)[0])


def test_named_timestamps_begin_their_splits():
    times, _, _ = times_of([1, 1, 2, 3, 3, 3, 9])
    cut = find_cutoffs(TimeSplit(kind="time", test_from=3, valid_from=2), times)
    assert (cut.test_after, cut.valid_after) == (2, 1)
    cut = find_cutoffs(TimeSplit(kind="time", test_from=9, valid=0.5), times)
    assert (cut.test_after, cut.valid_after) == (8, 2)
    cut = find_cutoffs(TimeSplit(kind="time", test=0, valid_from=3), times)
    assert (cut.test_after, cut.valid_after) == (LAST, 2)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {"test": 0.1, "valid": 0.5},
            r"split\.test gets no ratings: 0\.1 of 7 ratings are 0, but more .* timestamp 9",
        ),
        ({"test": 0.2, "valid": 0.2}, r"split\.valid gets no ratings: 0\.2 of 7 ratings are 1, .* timestamp 3,"),
        (
            {"test_from": 10, "valid": 0},
            r"split\.test gets no ratings: no rating, .* from split\.test_from 10 on; .* is 9",
        ),
        ({"test": 0.2, "valid_from": 9}, r"split\.valid gets no ratings: .* from split\.valid_from 9 on"),
        ({"test_from": 1, "valid": 0}, r"leaves no ratings to train on"),
        ({"test_from": 2, "valid": 0.9}, r"leaves no ratings to train on"),
    ],
)
def test_a_split_that_gets_nothing_is_refused(rule, message):
    times, _, _ = times_of([1, 1, 2, 3, 3, 3, 9])
    with pytest.raises(DataError, match=message):
        find_cutoffs(TimeSplit(kind="time", **rule), times)


def test_rows_that_fell_out_are_not_counted(tmp_path):
    scratch = Scratch(str(tmp_path))
    scratch.save("rows", {"row.timestamp": np.array([5, 1, 9, 3])})
    scratch.save("fates", {"drop_reason": np.array([KEPT, KEPT, 13, KEPT], np.int8)})
    span = sort_times(scratch, Source("rows", "fates"), "times")
    assert (span.count, span.first, span.last) == (3, 1, 5)
    assert count_later(scratch, "times", np.array([0, 1, 4, 5, 9])).tolist() == [3, 2, 1, 0, 0]
