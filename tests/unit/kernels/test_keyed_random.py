"""Draws that belong to places: fair, independent, and the same in any order and company."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_dist.kernels.keyed_random import keyed_mask

PLACES = np.arange(200_000, dtype=np.int64)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_places_are_drawn_with_their_share_and_independently(share: float) -> None:
    drawn = keyed_mask((1, 2), PLACES, share)
    deviation = np.sqrt(share * (1 - share) / len(PLACES))
    assert abs(drawn.mean() - share) <= 4 * deviation
    for lag in (1, 2, 500):
        pairs = (drawn[lag:] & drawn[:-lag]).mean()
        assert abs(pairs - share**2) <= 6 * deviation


def test_a_place_keeps_its_draw_in_any_order_and_company() -> None:
    chosen = np.random.default_rng(0).permutation(PLACES)[:1000]
    assert (keyed_mask((7,), chosen, 0.3) == keyed_mask((7,), PLACES, 0.3)[chosen]).all()


def test_each_key_draws_anew() -> None:
    one, other = (keyed_mask((3, epoch), PLACES, 0.5) for epoch in (0, 1))
    assert abs((one == other).mean() - 0.5) < 0.01


def test_places_are_left_as_they_were_and_may_be_beyond_32_bits() -> None:
    places = np.array([[0, 2**40], [2**62, 5]])
    drawn = keyed_mask((0,), places, 0.5)
    assert drawn.shape == places.shape
    assert places.tolist() == [[0, 2**40], [2**62, 5]]
