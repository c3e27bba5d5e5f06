"""Values of interactions, whatever the scale of the ratings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recsys_dist.families.targets import Target


def target(kind, low=1.0, high=5.0, mean=3.5, has_ratings=True) -> Target:
    return Target(kind=kind, has_ratings=has_ratings, low=low, high=high, mean=mean)


def relevant(one: Target, ratings: list[float]) -> list[bool]:
    return one.is_relevant(np.array(ratings, np.float32)).tolist()


def weights(one: Target, ratings: list[float]) -> list[float]:
    return one.weights(np.array(ratings, np.float32)).tolist()


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
    assert relevant(target("liked"), [3, 3.5, 4]) == [False, True, True]


def test_numbers_of_interactions_grow_like_their_logarithm():
    counts = target("graded", 1, 100, 2, has_ratings=False)
    assert values(counts, [100]) == [1]
    graded = values(counts, [1, 2, 4, 8])
    np.testing.assert_allclose(np.diff(graded), np.log(2) / (1 + np.log(100)), atol=1 / 64)
    assert values(target("liked", 1, 100, 2, has_ratings=False), [1, 100]) == [1, 1]
    assert values(target("graded", 1, 1, 1, has_ratings=False), [1]) == [1]
    assert relevant(counts, [1, 9]) == [True, True]


def test_all_are_one():
    assert values(target("all"), [1, 5]) == [1, 1]


def test_graded_weights_grow_with_the_rating_and_are_one_at_the_mean() -> None:
    assert weights(target("graded", mean=3.0), [1, 2, 3, 4, 5]) == pytest.approx([1 / 8, 1 / 2, 1, 3 / 2, 2])


@pytest.mark.parametrize(("low", "high"), [(0.0, 10.0), (-10.0, 10.0), (0.5, 5.0)])
def test_the_scale_of_ratings_does_not_matter_to_weights(low: float, high: float) -> None:
    scaled = low + (high - low) * np.linspace(0, 1, 5)
    here = target("graded", low=low, high=high, mean=low + (high - low) / 2)
    assert weights(here, scaled.tolist()) == pytest.approx([1 / 8, 1 / 2, 1, 3 / 2, 2])


def test_a_rating_out_of_range_weighs_like_the_nearest_one() -> None:
    assert weights(target("graded"), [0, 6]) == weights(target("graded"), [1, 5])


def test_liked_ratings_weigh_one_and_have_at_least_the_mean() -> None:
    assert weights(target("liked", mean=3.0), [1, 2, 3, 4, 5]) == [0, 0, 1, 1, 1]
    rating = float(np.float32(3.3))
    assert weights(target("liked", mean=rating + 1e-12), [rating]) == [1]


def test_equal_ratings_all_weigh_one() -> None:
    assert weights(target("graded", low=3.0, high=3.0, mean=3.0), [3, 3]) == [1, 1]
    assert weights(target("all"), [1, 5]) == [1, 1]


def test_numbers_of_interactions_weigh_by_their_logarithm() -> None:
    counts = target("graded", low=1.0, high=9.0, has_ratings=False)
    assert weights(counts, [1, math.e, 0.5]) == pytest.approx([1, 2, 1])
    assert weights(target("graded", low=1.0, high=1.0, mean=1.0, has_ratings=False), [1, 1]) == [1, 1]
    assert weights(target("liked", low=1.0, high=9.0, mean=4.0, has_ratings=False), [1, 9]) == [1, 1]
