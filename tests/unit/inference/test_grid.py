"""Probabilities of the cells of a grid of ratings, where they are small or certain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from recsys_dist.inference.grid import RatingGrid


def test_the_logarithm_of_a_probability_keeps_its_digits_in_either_tail():
    grid = RatingGrid(np.array([1, 2, 3, 4, 5], np.float32))
    mean, std = (np.array(a, np.float32) for a in ([3.1, -60, 60, 3, 3], [0.8, 1, 1, 0.01, 0.01]))
    rating = np.array([2, 4, 2, 1, 5], np.float32)

    logs = grid.log_probabilities(mean, std, rating)

    assert logs[0] == pytest.approx(np.log(grid.probabilities(mean, std)[0, 1]), rel=1e-6)
    # log Phi of the near edge: the far edge adds less than exp(-60).
    expected = [norm.logsf(63.5), norm.logcdf(-57.5), norm.logcdf(-150), norm.logcdf(-150)]
    np.testing.assert_allclose(logs[1:], expected, rtol=1e-6)


def test_a_single_rating_value_is_certain():
    grid = RatingGrid(np.array([4], np.float32))
    one = np.ones(1, np.float32)

    assert grid.probabilities(one, one).tolist() == [[1.0]]
    assert grid.log_probabilities(one, one, 4 * one).tolist() == [0.0]
