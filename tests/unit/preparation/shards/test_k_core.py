"""What is left of random ratings, and why the rest is not, against a plain loop over all of them."""

import numpy as np
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.parsing.rejects import Reason
from recsys_dist.preparation.settings.prepare import RatingRules
from recsys_dist.preparation.shards.k_core import find_core, trim
from recsys_dist.preparation.shards.user_rows import KEPT


def core_of(user, item, min_user, min_item):
    """The fate of each rating, all of them at a time, and the rounds: one more than those in which items fall."""
    drop_reason, rounds = np.full(len(user), KEPT), 1
    while True:
        before = drop_reason.copy()
        for index, least, reason in (
            (user, min_user, Reason.FEW_OF_USER),
            (item, min_item, Reason.FEW_OF_ITEM),
        ):
            count = np.bincount(index[drop_reason == KEPT], minlength=index.max() + 1)
            drop_reason[(drop_reason == KEPT) & (count[index] < least)] = reason
        rounds += bool(((drop_reason != before) & (drop_reason == Reason.FEW_OF_ITEM)).any())
        if (drop_reason == before).all():
            return drop_reason, rounds


def find(scratch, user, item, num_shards, min_user, min_item):
    """The fate of each rating by the program, the users dealt to shards; the tasks run, by round; items left."""
    names = [f"settled-{number}" for number in range(num_shards)]
    edges = np.searchsorted(user, np.arange(num_shards + 1) * (user.max() + 1) // num_shards)
    for name, start, stop in zip(names, edges[:-1], edges[1:], strict=True):
        users, first = np.unique(user[start:stop], return_index=True)
        hashes = (users.astype(np.uint64) << np.uint64(48)).astype(np.uint64)
        starts = np.append(first, stop - start)
        scratch.save(name, {"user.hash": hashes, "user.start": starts, "row.item": item[start:stop]})
    rounds = []

    def run(calls, _shards):
        rounds.append(len(calls))
        return [trim(scratch, *call) for call in calls]

    rules = RatingRules(min_user_ratings=min_user, min_item_ratings=min_item)
    core = find_core(scratch, names, int(item.max()) + 1, rules, run)
    drop_reasons = np.concatenate([scratch.load(source.drop_reasons)["drop_reason"] for source in core.sources])
    assert sum(part.num_rows.sum() for part in core.buckets) == (drop_reasons == KEPT).sum()
    return drop_reasons, rounds, np.flatnonzero(core.is_kept)


@pytest.mark.parametrize("num_shards", [1, 3, 8])
@pytest.mark.parametrize(("min_user", "min_item"), [(4, 4), (6, 1), (1, 9), (2, 7)])
def test_any_number_of_shards_leaves_what_the_plain_loop_leaves(tmp_path, num_shards, min_user, min_item):
    rng = np.random.default_rng(min_user)
    user, item = np.divmod(np.unique(rng.integers(0, 400, 2000) * 300 + rng.zipf(1.4, 2000) % 300), 300)
    expected, num_rounds = core_of(user, item, min_user, min_item)
    assert 0 < (expected == KEPT).sum() < len(user)
    drop_reasons, rounds, kept = find(Scratch(str(tmp_path)), user, item, num_shards, min_user, min_item)
    assert (drop_reasons == expected).all()
    assert kept.tolist() == np.unique(item[expected == KEPT]).tolist()
    assert len(rounds) == num_rounds
    assert len(list(tmp_path.glob("core-*"))) == num_shards


def test_a_long_chain_falls_link_by_link_and_shards_far_from_it_are_left_alone(tmp_path):
    """User n rates items n and n + 1, and both ends hang free: each round frees the next link of each end."""
    links = np.arange(40)
    user, item = np.repeat(links, 2), np.stack([links, links + 1], axis=1).ravel()
    # Beside the chain one square that holds.
    user, item = np.append(user, [40, 40, 41, 41]), np.append(item, [41, 42, 41, 42])
    drop_reasons, rounds, kept = find(Scratch(str(tmp_path)), user, item, 6, 2, 2)
    expected, num_rounds = core_of(user, item, 2, 2)
    assert (drop_reasons == expected).all()
    assert len(rounds) == num_rounds > 15
    assert kept.tolist() == [41, 42]
    assert rounds[0] == 6
    assert max(rounds[1:]) <= 4


def test_nothing_left_is_one_line(tmp_path):
    user, item = np.arange(10), np.zeros(10, np.int64)
    with pytest.raises(DataError, match=r"no rating remains with ratings\.min_user_ratings 2 .* lower them"):
        find(Scratch(str(tmp_path)), user, item, 2, 2, 3)
