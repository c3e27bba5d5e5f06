import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_dist.dataset.hashing import mix, pair_hashes, text_hashes
from recsys_dist.preparation.arrays.scratch import Scratch, unpack_texts, wide_ratings
from recsys_dist.preparation.parsing.layout import TextLayout
from recsys_dist.preparation.parsing.rows import parse_text
from recsys_dist.preparation.settings.prepare import RatingRules
from recsys_dist.preparation.shards import runs
from recsys_dist.preparation.shards.runs import cut_evenly, user_order, write_run


def hash_of(text):
    """FNV-1a and the finalizer of splitmix64, in whole numbers of Python."""
    state = 0xCBF29CE484222325
    for byte in text.encode():
        state = (state ^ byte) * 0x100000001B3 % 2**64
    state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ state >> 27) * 0x94D049BB133111EB % 2**64
    return state ^ state >> 31


@given(st.lists(st.text(max_size=12)), st.integers(0, 5))
def test_hashes_are_those_of_the_definition(texts, skipped):
    array = pa.array(["other"] * skipped + texts, pa.large_string())[skipped:]
    assert text_hashes(array).tolist() == [hash_of(text) for text in texts]


def test_pair_hashes_are_uniform_and_differ_by_seed():
    users = mix(np.arange(1000, dtype=np.uint64)).repeat(100)
    items = np.tile(mix(np.arange(5000, 5100, dtype=np.uint64)), 1000)
    first, second = (pair_hashes(seed, users, items) / 2**64 for seed in (0, 1))
    assert np.histogram(first, 20)[0] == pytest.approx(5000, rel=0.05)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert len(np.unique(first)) == len(first)


@settings(max_examples=300)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=60), st.integers(1, 70))
def test_cuts_cover_all_in_nonempty_parts(weights, num_parts):
    bounds = cut_evenly(np.array(weights), num_parts)
    assert len(bounds) == min(num_parts, len(weights)) + 1
    assert (bounds[0], bounds[-1]) == (0, len(weights))
    assert (np.diff(bounds) > 0).all()


@settings(max_examples=300)
@given(st.lists(st.integers(50, 1000), min_size=120, max_size=300), st.integers(2, 6))
def test_no_part_is_heavier_than_needed_where_none_has_to_be_kept_from_being_empty(weights, num_parts):
    """A part ends within half an entry of its target on both sides."""
    bounds = cut_evenly(np.array(weights), num_parts)
    heaviest = max(sum(weights[a:b]) for a, b in itertools.pairwise(bounds))
    assert heaviest <= sum(weights) / num_parts + max(weights)


def test_users_of_equal_hash_are_ordered_by_id():
    ids = pa.array(["b", "a", "c"], pa.large_string())
    assert user_order(ids, np.array([5, 5, 1], np.uint64)).tolist() == [2, 1, 0]


def test_a_run_holds_each_users_rows_together_in_the_order_of_hashes(tmp_path):
    text = b"7,x,1\n007,y,2\n7,y,3\n9,,4\n007,x,5\n,x,2\n"
    shape = TextLayout(",", None, "utf-8", False, 3, {"user": 0, "item": 1, "rating": 2})
    info = write_run(Scratch(str(tmp_path)), "run", parse_text(text, shape, RatingRules(), True))
    arrays = Scratch(str(tmp_path)).load("run.run")
    users = unpack_texts("user", arrays).to_pylist()
    assert users == sorted(["7", "007"], key=hash_of)
    rows = {}
    for user, start, stop in zip(users, arrays["user.start"], arrays["user.start"][1:], strict=False):
        items = unpack_texts("item", arrays).take(pa.array(arrays["row.item"][start:stop])).to_pylist()
        rows[user] = list(zip(items, wide_ratings(arrays["row.rating"][start:stop]).tolist(), strict=True))
    assert rows == {"7": [("x", 1.0), ("y", 3.0)], "007": [("y", 2.0), ("x", 5.0)]}
    assert (info.num_read, info.num_lines, info.rejected.total()) == (6, 6, 2)
    buckets = [hash_of(user) >> (64 - runs.BUCKET_BITS) for user in users]
    assert dict(zip(info.buckets.tolist(), info.bucket_rows.tolist(), strict=True)) == dict.fromkeys(buckets, 2)
