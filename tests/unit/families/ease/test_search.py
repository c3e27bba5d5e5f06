"""The search for lambda: it ends at the top of a hill, wherever that is."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from recsys_dist.families.ease.training.search import MOST, START, LambdaSearch


def climbed(height: Callable[[float], float], search: LambdaSearch | None = None) -> LambdaSearch:
    """`height` is of the exponent e in lambda = START 2^(e / 2); the second choice is the better one."""
    search = search or LambdaSearch()
    while (regularization := search.next) is not None:
        figure = height(2 * math.log2(regularization / START))
        search = search.after([figure - 1, figure])
    return search


def top_of(search: LambdaSearch) -> float:
    return round(2 * math.log2(search.best.regularization / START))


@pytest.mark.parametrize("top", [-20, -7, -1, 0, 1, 2, 3, 13, 40])
def test_it_finds_the_top_and_the_best_choice(top):
    search = climbed(lambda exponent: -abs(exponent - top))
    assert top_of(search) == top
    assert search.best.choice == 1
    assert search.best.figure == pytest.approx(0, abs=1e-9)
    assert len(search.found) <= 8 + abs(top) // 4


def test_it_stays_within_bounds_and_near_the_start():
    assert top_of(climbed(lambda exponent: exponent)) == MOST
    assert top_of(climbed(lambda exponent: -exponent)) == -MOST
    assert top_of(climbed(lambda _exponent: 0.5)) == 0


def test_a_lambda_that_is_given_is_tried_alone():
    search = climbed(lambda exponent: exponent, LambdaSearch.of(30.0))
    assert search.best.regularization == 30
    assert len(search.found) == 1
