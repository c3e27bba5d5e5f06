import itertools
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from recsys_dist.errors import DataError
from recsys_dist.preparation.settings.split import FilesSplit, LeaveNOutSplit, RandomSplit, TimeSplit, UsersSplit
from recsys_dist.preparation.shards.splits import (
    LAST,
    TEST,
    TRAIN,
    VALID,
    Cutoffs,
    SplitKeys,
    describe,
    draw_split,
)
from recsys_dist.preparation.shards.time_cutoffs import Times, find_cutoffs


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
    user_hash = rng.integers(0, 2**64, num_users, dtype=np.uint64)[columns["user"]]
    return SplitKeys(user_hash=user_hash, **columns)


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


def test_whole_users_are_held_out_in_the_named_fractions():
    these = pairs(60_000, num_users=20_000)
    drawn = draw_split(UsersSplit(kind="users", test=0.2, valid=0.1), these)
    of_user = np.full(20_000, -1)
    of_user[these.user] = drawn
    assert (of_user[these.user] == drawn).all()
    assert np.bincount(of_user[of_user >= 0]) / (of_user >= 0).sum() == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


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


fractions = st.floats(0, 0.45)
random_rules = st.builds(RandomSplit, kind=st.just("random"), test=fractions, valid=fractions)
file_rules = st.builds(FilesSplit, kind=st.just("files"), train=st.just("a"), test=st.just("b"), valid=fractions)
numbers = st.integers(0, 3)
user_rules = st.builds(
    LeaveNOutSplit,
    kind=st.just("leave_n_out"),
    test=numbers,
    valid=numbers,
    by=st.sampled_from(["time", "hash"]),
    min_train=numbers,
)
whole_users = st.builds(UsersSplit, kind=st.just("users"), test=fractions, valid=fractions)
time_rules = st.builds(TimeSplit, kind=st.just("time"), test=fractions, valid=fractions)
rules = random_rules | file_rules | user_rules | time_rules | whole_users
ratings = st.dictionaries(
    st.tuples(st.integers(0, 6), st.integers(0, 30)),
    st.tuples(st.integers(0, 2**64 - 1), st.integers(-5, 5), st.sampled_from([TRAIN, VALID, TEST])),
    min_size=1,
    max_size=40,
)
"""(hash, timestamp, role) of pairs (user, item)."""


def hash_of_user(user):
    return user * (2**64 // 7)


def drawn(rule, of_pairs, order, cutoffs=None):
    """The split of each pair, given in this order and with users counted anew."""
    listed = sorted((of_pairs if order is None else order), key=lambda pair: pair[0])
    users, user = np.unique([user for user, _ in listed], return_inverse=True)
    hashes, times, roles = zip(*(of_pairs[pair] for pair in listed), strict=True)
    these = SplitKeys(
        user=user.astype(np.int64),
        hash=np.array(hashes, np.uint64),
        timestamp=np.array(times, np.int64),
        role=np.array(roles, np.int8),
        user_hash=np.array([hash_of_user(user) for user, _ in listed], np.uint64),
    )
    codes = draw_split(rule, these, cutoffs)
    assert (len(codes), len(users)) == (len(listed), user.max() + 1)
    return dict(zip(listed, codes.tolist(), strict=True))


def cutoffs_of(rule, of_pairs):
    """Of a split by time, found among all pairs; examples that it refuses are passed over."""
    if not isinstance(rule, TimeSplit):
        return None
    times = np.sort(np.array([time for _, time, _ in of_pairs.values()], np.int64))
    counted = Times(
        len(times), int(times[0]), int(times[-1]), lambda at: len(times) - np.searchsorted(times, at, side="right")
    )
    try:
        return find_cutoffs(rule, counted)
    except DataError:
        assume(False)


@examples(max_examples=400, deadline=None)
@given(rules, ratings, st.randoms(use_true_random=False))
def test_a_pair_falls_the_same_way_whatever_other_users_and_orders_there_are(rule, of_pairs, random):
    cutoffs = cutoffs_of(rule, of_pairs)
    assume(len({number for number, *_ in of_pairs.values()}) == len(of_pairs))
    whole = drawn(rule, of_pairs, None, cutoffs)
    assert set(whole.values()) <= {TRAIN, VALID, TEST}
    assert whole.keys() == of_pairs.keys(), "each pair is in one split"
    order = list(of_pairs)
    random.shuffle(order)
    assert drawn(rule, of_pairs, order, cutoffs) == whole
    # All pairs of some users, or where a user's other pairs do not matter any pairs at all.
    one = order[0][0]
    some = [pair for pair in order if (pair[0] == one if isinstance(rule, LeaveNOutSplit) else pair[1] % 2)]
    if some:
        assert drawn(rule, of_pairs, some, cutoffs) == {pair: whole[pair] for pair in some}


@examples(max_examples=400, deadline=None)
@given(rules, ratings)
def test_each_split_gets_what_its_rule_says(rule, of_pairs):
    cutoffs = cutoffs_of(rule, of_pairs)
    splits = drawn(rule, of_pairs, None, cutoffs)
    by_split = {code: {pair for pair, found in splits.items() if found == code} for code in (TRAIN, VALID, TEST)}
    match rule:
        case RandomSplit():
            ends = int(rule.test * 2**64), int((rule.test + rule.valid) * 2**64)
            assert by_split[TEST] == {pair for pair in of_pairs if of_pairs[pair][0] < ends[0]}
            assert by_split[TRAIN] == {pair for pair in of_pairs if of_pairs[pair][0] >= ends[1]}
        case FilesSplit():
            assert by_split[TEST] == {pair for pair in of_pairs if of_pairs[pair][2] == TEST}
            assert by_split[TRAIN] <= {pair for pair in of_pairs if of_pairs[pair][2] == TRAIN}
        case UsersSplit():
            ends = int(rule.test * 2**64), int((rule.test + rule.valid) * 2**64)
            assert by_split[TEST] == {pair for pair in of_pairs if hash_of_user(pair[0]) < ends[0]}
            assert by_split[TRAIN] == {pair for pair in of_pairs if hash_of_user(pair[0]) >= ends[1]}
        case LeaveNOutSplit():
            for user in {user for user, _ in of_pairs}:
                train, valid, test = (sum(pair[0] == user for pair in by_split[code]) for code in by_split)
                free = max(train + valid + test - rule.min_train, 0)
                assert (test, valid) == (min(rule.test, free), min(rule.valid, free - min(rule.test, free)))
        case TimeSplit():
            times = {code: [of_pairs[pair][1] for pair in pairs] for code, pairs in by_split.items()}
            bounds = [(min(found), max(found)) for found in times.values() if found]
            assert all(before[1] < after[0] for before, after in itertools.pairwise(bounds))
            for code, fraction in ((TEST, rule.test), (VALID, rule.valid)):
                assert (fraction > 0) <= len(times[code]) <= math.floor(fraction * len(of_pairs))
