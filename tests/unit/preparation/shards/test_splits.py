import numpy as np
import pytest

from recsys_dist.preparation.settings.split import FilesSplit, LeaveNOutSplit, RandomSplit, TimeSplit
from recsys_dist.preparation.shards.splits import LAST, TEST, TRAIN, VALID, Cutoffs, Pairs, describe, draw_split


def pairs(num_rows, num_users=1, seed=0, **columns):
    """Random pairs, sorted by user; timestamps repeat."""
    rng = np.random.default_rng(seed)
    columns = {
        "user": np.sort(rng.integers(0, num_users, num_rows)),
        "hash": rng.integers(0, 2**64, num_rows, dtype=np.uint64),
        "timestamp": rng.integers(0, 9, num_rows),
        "role": np.zeros(num_rows, np.int8),
        **columns,
    }
    return Pairs(**columns)


def test_the_drawn_fractions_are_the_named_ones():
    drawn = draw_split(RandomSplit(kind="random", test=0.1, valid=0.05), pairs(100_000))
    assert np.bincount(drawn) / len(drawn) == pytest.approx([0.85, 0.05, 0.1], abs=0.004)
    without = draw_split(RandomSplit(kind="random", test=0.1, valid=0), pairs(100_000))
    assert ((without == TEST) == (drawn == TEST)).all()
    assert not (without == VALID).any()


def test_files_keep_their_role_and_valid_is_drawn_from_train_alone():
    role = np.repeat(np.array([TRAIN, VALID, TEST], np.int8), 10_000)
    rule = FilesSplit(kind="files", train="a", test="b", valid=0.2)
    drawn = draw_split(rule, pairs(30_000, role=role)).reshape(3, -1)
    assert np.bincount(drawn[0], minlength=3) / 10_000 == pytest.approx([0.8, 0.2, 0], abs=0.02)
    assert (drawn[1:] == [[VALID], [TEST]]).all()


@pytest.mark.parametrize("by", ["time", "hash"])
@pytest.mark.parametrize(("test", "valid", "min_train"), [(1, 1, 1), (2, 3, 0), (3, 0, 4), (0, 2, 2)])
def test_of_each_user_the_last_are_held_out_and_enough_stays(by, test, valid, min_train):
    these = pairs(400, num_users=90)
    drawn = draw_split(
        LeaveNOutSplit(kind="leave_n_out", test=test, valid=valid, by=by, min_train=min_train), these
    )
    sizes = set()
    for user in np.unique(these.user):
        mine = np.flatnonzero(these.user == user)
        keys = [(these.timestamp[row] if by == "time" else 0, these.hash[row], row) for row in mine]
        last_first = [row for *_, row in sorted(keys, reverse=True)]
        num_test = min(test, max(len(mine) - min_train, 0))
        num_valid = min(valid, max(len(mine) - min_train - num_test, 0))
        expected = [TEST] * num_test + [VALID] * num_valid + [TRAIN] * (len(mine) - num_test - num_valid)
        assert drawn[last_first].tolist() == expected
        sizes.add(len(mine))
    assert min(sizes) == 1
    assert max(sizes) > 7


def test_time_is_cut_for_all_users_alike():
    rule, these = TimeSplit(kind="time"), pairs(1000, num_users=5)
    drawn = draw_split(rule, these, Cutoffs(test_after=6, valid_after=4))
    assert [sorted(set(these.timestamp[drawn == code])) for code in (TRAIN, VALID, TEST)] == [
        [0, 1, 2, 3, 4],
        [5, 6],
        [7, 8],
    ]
    told = describe(rule, Cutoffs(test_after=LAST, valid_after=4))
    assert (told["test_from"], told["valid_from"]) == (None, 5)
