import itertools

import numpy as np
import pytest

from recsys_dist.data.config import FilesSplit, RandomSplit
from recsys_dist.data.split import TEST, TRAIN, VALID, draw_split, settle_repeats


def test_the_drawn_fractions_are_the_named_ones():
    hashes = np.random.default_rng(0).integers(0, 2**64, 100_000, dtype=np.uint64)
    drawn = draw_split(RandomSplit(kind="random", test=0.1, valid=0.05), hashes, None)
    assert np.bincount(drawn) / len(drawn) == pytest.approx([0.85, 0.05, 0.1], abs=0.004)
    without = draw_split(RandomSplit(kind="random", test=0.1, valid=0), hashes, None)
    assert ((without == TEST) == (drawn == TEST)).all()
    assert not (without == VALID).any()


def test_files_keep_their_role_and_valid_is_drawn_from_train_alone():
    hashes = np.random.default_rng(0).integers(0, 2**64, 30_000, dtype=np.uint64)
    role = np.repeat(np.array([TRAIN, VALID, TEST], np.int8), 10_000)
    rule = FilesSplit(kind="files", train="a", test="b", valid=0.2)
    drawn = draw_split(rule, hashes, role).reshape(3, -1)
    assert np.bincount(drawn[0], minlength=3) / 10_000 == pytest.approx([0.8, 0.2, 0], abs=0.02)
    assert (drawn[1:] == [[VALID], [TEST]]).all()


def test_one_row_of_each_pair_is_kept_whatever_their_order():
    #        pair, role, time, rating, origin
    rows = [
        (0, TRAIN, 5, 3.0, 0),  # later than the next two
        (0, TRAIN, 4, 5.0, 1),
        (0, TRAIN, -(2**63), 5.0, 2),
        (1, TRAIN, 9, 5.0, 3),
        (1, TEST, 1, 1.0, 4),  # held out wins over later
        (1, TEST, 1, 2.0, 5),  # equally late: the higher
        (2, VALID, 0, 4.0, 6),
        (2, VALID, 0, 4.0, 7),  # equal in all: the first in the input
    ]
    for order in itertools.islice(itertools.permutations(range(len(rows))), 0, None, 997):
        pair, role, time, rating, origin = (
            np.array(column) for column in zip(*(rows[i] for i in order), strict=True)
        )
        chosen = settle_repeats(pair, role.astype(np.int8), time, rating.astype(np.float32), origin)
        assert origin[chosen.kept].tolist() == [0, 5, 6]
        assert chosen.mean.tolist() == pytest.approx([13 / 3, 1.5, 4])
        dropped = dict(zip(origin[chosen.dropped].tolist(), chosen.is_held_out.tolist(), strict=True))
        assert dropped == {1: False, 2: False, 3: True, 4: False, 7: False}
