from __future__ import annotations

import math

import numpy as np
import pytest

from recsys_dist.families.ials.objective import Feedback, Penalty


def feedback(target="graded", counts=False, low=1.0, high=5.0, mean=3.0):
    return Feedback(target=target, counts=counts, low=low, high=high, mean=mean)


def weights(ratings, **settings):
    return feedback(**settings).weights(np.array(ratings, np.float32)).tolist()


def test_graded_weights_grow_with_the_rating_and_are_one_at_the_mean():
    assert weights([1, 2, 3, 4, 5]) == pytest.approx([1 / 8, 1 / 2, 1, 3 / 2, 2])


@pytest.mark.parametrize(("low", "high"), [(0.0, 10.0), (-10.0, 10.0), (0.5, 5.0)])
def test_the_scale_of_ratings_does_not_matter(low, high):
    scaled = low + (high - low) * np.linspace(0, 1, 5)
    mean = low + (high - low) / 2
    assert weights(scaled, low=low, high=high, mean=mean) == pytest.approx(weights([1, 2, 3, 4, 5]))


def test_a_rating_out_of_range_counts_like_the_nearest_one():
    assert weights([0, 6]) == weights([1, 5])


def test_liked_ratings_have_at_least_the_mean():
    assert weights([1, 2, 3, 4, 5], target="liked") == [0, 0, 1, 1, 1]
    rating = np.float32(3.3)
    assert weights([rating], target="liked", mean=float(rating) + 1e-12) == [1]


def test_equal_ratings_all_count():
    assert weights([3, 3], low=3.0, high=3.0) == [1, 1]
    assert weights([1, 5], target="all") == [1, 1]


def test_counts_of_interactions_weigh_by_their_logarithm():
    assert weights([1, math.e, 0.5], counts=True, high=9.0) == pytest.approx([1, 2, 1])
    assert weights([1, 1], counts=True, low=1.0, high=1.0, mean=1.0) == [1, 1]


def test_penalties_scale_with_the_frequency():
    count = np.array([0, 10])
    whole = Penalty(unobserved_weight=0.5, regularization=0.1, frequency_scaling=1)
    assert whole.of_rows(count, 20).tolist() == pytest.approx([1, 2])
    equal = whole.model_copy(update={"frequency_scaling": 0.0})
    assert equal.of_rows(count, 20).tolist() == pytest.approx([0.1, 0.1])
