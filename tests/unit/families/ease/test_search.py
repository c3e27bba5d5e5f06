"""The search for lambda: it ends at the top of a hill, wherever that is."""

from __future__ import annotations

import math

import pytest

from recsys_dist.families.ease.training.search import MOST, LambdaSearch, regularization_of


def climbed(height) -> LambdaSearch:
    search = LambdaSearch()
    while (exponent := search.next) is not None:
        search = search.after(exponent, height(exponent))
    return search


@pytest.mark.parametrize("top", [-20, -7, -1, 0, 1, 2, 3, 13, 40])
def test_it_finds_the_top(top):
    search = climbed(lambda exponent: -abs(exponent - top))
    assert search.best == top
    assert len(search.found) <= 8 + abs(top) // 4


def test_it_stays_within_bounds_and_near_the_start():
    assert climbed(lambda exponent: exponent).best == MOST
    assert climbed(lambda exponent: -exponent).best == -MOST
    assert climbed(lambda _exponent: 0.5).best == 0
    assert climbed(lambda _exponent: math.nan).found


def test_lambdas_are_in_steps_of_the_root_of_two():
    assert regularization_of(0) == 100
    assert regularization_of(2) == 200
