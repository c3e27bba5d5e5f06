"""Values of interactions, whatever the scale of the ratings."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_dist.families.targets import Target


def target(kind, low=1.0, high=5.0, mean=3.5, has_ratings=True) -> Target:
    return Target(kind=kind, has_ratings=has_ratings, low=low, high=high, mean=mean)


def values(one: Target, ratings: list[float]) -> list[float]:
    return one.values(np.array(ratings, np.float32)).tolist()


def test_stars_are_graded():
    assert values(target("graded"), [1, 2, 3, 4, 5]) == [1 / 16, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(("low", "high"), [(0.5, 5), (0, 10), (-10, 10), (1, 100)])
def test_any_scale_is_graded_from_a_sixteenth_to_one(low, high):
    ratings = np.linspace(low, high, 21)
    graded = values(target("graded", low, high), list(ratings))
    assert (graded[0], graded[-1]) == (1 / 16, 1)
    np.testing.assert_allclose(graded[2:], ((ratings - low) / (high - low))[2:], atol=1 / 128 + 1e-6)
    assert all(value * 64 == round(value * 64) for value in graded)


def test_ratings_that_are_all_equal_are_all_liked():
    assert values(target("graded", 3, 3, 3), [3, 3]) == [1, 1]
    mean = float(np.mean(np.full(1000, 3.7, np.float32), dtype=np.float64))
    assert values(target("liked", 3.7, 3.7, mean), [3.7]) == [1]


def test_liked_are_those_from_the_mean():
    assert values(target("liked"), [1, 3, 3.5, 4]) == [0, 0, 1, 1]
    assert target("liked").relevant_from == 3.5


def test_numbers_of_interactions_grow_like_their_logarithm():
    counts = target("graded", 1, 100, 2, has_ratings=False)
    assert values(counts, [100]) == [1]
    graded = values(counts, [1, 2, 4, 8])
    np.testing.assert_allclose(np.diff(graded), np.log(2) / (1 + np.log(100)), atol=1 / 64)
    assert values(target("liked", 1, 100, 2, has_ratings=False), [1, 100]) == [1, 1]
    assert values(target("graded", 1, 1, 1, has_ratings=False), [1]) == [1]
    assert counts.relevant_from == -np.inf


def test_all_are_one():
    assert values(target("all"), [1, 5]) == [1, 1]
