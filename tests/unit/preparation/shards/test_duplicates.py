import itertools

import numpy as np
import pytest

from recsys_dist.preparation.shards.duplicates import resolve_duplicates
from recsys_dist.preparation.shards.splits import TEST, TRAIN, VALID


@pytest.mark.parametrize(("keep", "expected"), [("last", [0, 5, 7]), ("first", [2, 4, 6])])
def test_one_row_of_each_pair_is_kept_whatever_their_order(keep, expected):
    #        pair, role, time, rating, origin
    rows = [
        (0, TRAIN, 5, 3.0, 0),  # later than the next two
        (0, TRAIN, 4, 5.0, 1),
        (0, TRAIN, -(2**63), 5.0, 2),
        (1, TRAIN, 9, 5.0, 3),
        (1, TEST, 1, 2.0, 4),  # held out wins over later
        (1, TEST, 1, 1.0, 5),  # equally late: by place
        (2, VALID, 0, 4.0, 6),
        (2, VALID, 0, 4.0, 7),
    ]
    for order in itertools.islice(itertools.permutations(range(len(rows))), 0, None, 997):
        pair, role, time, rating, origin = (
            np.array(column) for column in zip(*(rows[i] for i in order), strict=True)
        )
        chosen = resolve_duplicates(pair, role.astype(np.int8), time, rating.astype(np.float32), origin, keep)
        assert origin[chosen.kept].tolist() == expected
        assert (chosen.total.tolist(), chosen.count.tolist()) == ([13.0, 3.0, 8.0], [3, 2, 2])
        assert chosen.mean.tolist() == pytest.approx([13 / 3, 1.5, 4])
        dropped = dict(zip(origin[chosen.dropped].tolist(), chosen.is_held_out.tolist(), strict=True))
        assert dropped == {row: row == 3 for row in range(len(rows)) if row not in expected}
