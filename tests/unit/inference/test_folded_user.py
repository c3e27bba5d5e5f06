"""A user from ratings alone, whatever the family of the model: which ratings count, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys_dist import load_model
from recsys_dist.errors import DataError
from tests.support.merged import autorec_run, mf_run, rated_by, train_matrix, write_merged
from tests.support.prepared import small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


def everything_of(folded) -> tuple[list[float], list[float]]:
    """All ratings that are predicted for the user, and their deviations."""
    ids = folded.predictor.catalog.item_ids.array
    return tuple(numbers.tolist() for numbers in folded.predict(ids, return_std=True))


def test_more_ratings_of_a_known_user_are_added_to_its_own(tmp_path, dataset):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    items, given = rated_by(train_matrix(dataset), 17)
    new = next(f"i{item}" for item in range(dataset.num_items) if f"i{item}" not in items)

    more = model.fold_in([new, items[2], "not an item"], [1.5, 2.0, 3.0], user_id="u17")

    given[2] = 2.0
    whole = model.fold_in([*items, new], [*given, 1.5])
    assert everything_of(more) == everything_of(whole)
    assert more.rated.tolist() == whole.rated.tolist()
    assert not {*items, new} & set(more.recommend(1000).item_ids)
    with pytest.raises(DataError, match="unknown user 'u999'"):
        model.fold_in(["i1"], [4], user_id="u999")


@pytest.mark.parametrize("kind", ["full", "diagonal", "point", "items", "users"])
def test_without_a_known_item_a_new_user_is_the_unknown_user(tmp_path, dataset, kind):
    run = (
        autorec_run(dataset, kind) if kind in {"items", "users"} else mf_run(dataset, posterior=kind, noise="both")
    )
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    everything = [f"i{item}" for item in range(dataset.num_items)]

    for folded in (model.fold_in([], []), model.fold_in(["not an item"], [4])):
        with_std: Any = kind in {"full", "diagonal"}
        np.testing.assert_allclose(
            folded.predict(everything, with_std), model.predict("new", everything, with_std), atol=1e-6
        )


def test_order_of_the_ratings_does_not_matter_and_rated_items_are_left_out(tmp_path, dataset):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    one = model.fold_in(["i3", "i9", "i4"], [5, 1, 2])
    other = model.fold_in(["i4", "i3", "i9"], [2, 5, 1])

    assert everything_of(one) == everything_of(other)
    listed = one.recommend(dataset.num_items).item_ids
    assert len(listed) == dataset.num_items - 3
    assert not {"i3", "i9", "i4"} & set(listed)
    assert len(one.recommend(100, include_seen=True).item_ids) == dataset.num_items


def test_the_last_rating_of_an_item_counts(tmp_path, dataset):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    twice = model.fold_in(["i3", "i9", "x", "i3"], [5, 1, 4, 2])

    assert everything_of(twice) == everything_of(model.fold_in(["i9", "i3"], [1, 2]))
    assert twice.rated.tolist() == [3, 9]


@pytest.mark.parametrize(
    "ratings",
    [
        [9.0],
        [np.nan],
        [np.inf],
        ["good"],
        ["3"],
        [True],
        [True, 3.0],
        ["3", 4.0],
        np.array(["3"], object),
        np.array([0], "M8[D]"),
        [10**400],
        [1e39],
        np.array([1e39]),
        [3.0, 3.0],
        [[3.0]],
    ],
)
def test_ratings_that_cannot_be_are_refused(tmp_path, dataset, ratings):
    write_merged(mf_run(dataset), dataset, tmp_path / "model")

    wrong = (
        r"outside the range of the data, 1 to 5|must be numbers|differ in length|must be one-dimensional, not with"
    )
    with pytest.raises(DataError, match=wrong):
        load_model(str(tmp_path / "model")).fold_in(["i1"], ratings)
