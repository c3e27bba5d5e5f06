"""Lists of candidates against full lists of which the other items are struck out."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys_dist import load_model
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference import ranker, top
from recsys_dist.inference.all_users import write_all_lists
from recsys_dist.inference.criterion import RankingCriterion
from recsys_dist.inference.items.choice import ItemChoice
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset

USERS = [f"u{user}" for user in range(120)]
CANDIDATES = [f"i{item}" for item in (40, 3, 17, 5, 59, 3, 20, 31, 12)]
ORDERS = [{}, {"rank_by": "lower", "confidence": 0.8}, {"rank_by": "thompson", "seed": 4}]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module", params=["mf", "items"])
def model(request, tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset) if request.param == "mf" else autorec_run(dataset, request.param), dataset, path)
    return load_model(str(path))


def orders_of(model) -> list[dict]:
    return ORDERS if model.knows_uncertainty else ORDERS[:1]


def struck_out(model, allowed_of, n: int = 5, **order) -> list[list[tuple]]:
    """Full lists of all users, the items that are not allowed struck out."""
    whole = model.recommend(USERS, 1000, **order)
    return [[row for row in one.rows() if row.item_id in allowed_of(one.user_id)][:n] for one in whole]


def rows(lists) -> list[list[tuple]]:
    return [one.rows() for one in lists]


@pytest.mark.parametrize("items_per_pair", [1, 1000], ids=["pairs", "columns"])
def test_only_candidates_are_listed_in_the_order_of_the_full_list(model, monkeypatch, items_per_pair):
    monkeypatch.setattr(ranker, "ITEMS_PER_PAIR", items_per_pair)
    monkeypatch.setattr(top, "SCORE_BLOCK_FLOATS", 7 * 1024)

    for order in orders_of(model):
        lists = model.recommend(USERS, 5, **order, items=CANDIDATES)

        assert rows(lists) == struck_out(model, lambda _: set(CANDIDATES), **order)


def test_excluded_items_are_never_listed(model):
    excluded = {"i0", "i1", "i2", "i7", "i30"}
    for order in orders_of(model):
        lists = model.recommend(USERS, 5, **order, exclude=sorted(excluded))

        assert rows(lists) == struck_out(model, lambda _: set(model.item_ids) - excluded, **order)
    both = model.recommend(USERS, 5, items=CANDIDATES, exclude=["i3", "i0"])
    assert rows(both) == struck_out(model, lambda _: set(CANDIDATES) - {"i3"})


def test_users_have_candidates_of_their_own(model, monkeypatch):
    monkeypatch.setattr(top, "SCORE_BLOCK_FLOATS", 7 * 60)
    draw = np.random.default_rng(0)
    own = {user: [f"i{item}" for item in draw.choice(60, draw.integers(1, 20))] for user in USERS}

    for order in orders_of(model):
        lists = model.recommend(USERS, 5, **order, items=own, exclude=["i5"])

        assert rows(lists) == struck_out(model, lambda user: set(own[user]) - {"i5"}, **order)
    assert model.recommend(["u3", "u1", "u3"], 5, items=own)[2].rows() == lists_of(model, "u3", own["u3"])


def lists_of(model, user: str, items: list[str]) -> list[tuple]:
    return model.recommend(user, 5, items=items)[0].rows()


def test_a_folded_user_has_candidates_too(model):
    folded = model.fold_in(["i3", "i9"], [5, 2])
    for order in orders_of(model):
        whole = [row for row in folded.recommend(1000, **order).rows() if row.item_id in CANDIDATES]

        assert folded.recommend(3, **order, items=CANDIDATES).rows() == whole[:3]
        assert (
            folded.recommend(3, **order, exclude=["i40"], items=CANDIDATES).rows()
            == [row for row in whole if row.item_id != "i40"][:3]
        )
        assert "i3" not in [row.item_id for row in whole]


@pytest.mark.parametrize("items_per_pair", [1, 1000], ids=["pairs", "columns"])
def test_lists_of_all_users_are_those_of_each(model, monkeypatch, tmp_path, items_per_pair):
    monkeypatch.setattr(ranker, "ITEMS_PER_PAIR", items_per_pair)
    # With two candidates, some users have rated both.
    for items, exclude in ((CANDIDATES, ["i3"]), (["i0", "i1"], []), (None, ["i0", "i4"])):
        choice = ItemChoice.of(model.catalog, items, exclude)
        arguments = (model.predictor, tmp_path / "lists.parquet", 4, False, RankingCriterion())

        written = write_all_lists(*arguments, lambda *_: None, choice)

        expected = model.recommend(model.user_ids.array, 4, items=items, exclude=exclude)
        table = pq.read_table(tmp_path / "lists.parquet")
        whole = expected.to_arrow().select(table.column_names)
        assert table.drop_columns(["score"]).equals(whole.drop_columns(["score"]))
        assert written == (len(whole), sum(not one.item_ids for one in expected))
    assert table.column_names == [
        "user_id",
        "rank",
        "item_id",
        "title",
        "score",
        *["std"] * model.knows_uncertainty,
    ]


def test_a_user_who_has_rated_every_candidate_has_an_empty_list(model):
    position, item = model.catalog.train_ratings.of_users(np.array([3]))
    assert len(position)
    (listed,) = model.recommend("u3", 5, items=model.item_ids.take(item))

    assert (listed.item_ids, listed.titles, len(listed.scores)) == ([], [], 0)
    (again,) = model.recommend("u3", 1000, items=model.item_ids.take(item), include_seen=True)
    assert sorted(again.item_ids) == sorted(model.item_ids.take(item))


def test_unknown_candidates_and_exclusions_are_named(model):
    many = [f"x{number}" for number in range(12)]
    for who in (lambda **given: model.recommend("u1", **given), model.fold_in(["i1"], [4]).recommend):
        for name in ("items", "exclude"):
            with pytest.raises(
                DataError, match=r"^unknown item 'x', '7': .* was trained on 60 other items; ids must"
            ):
                who(**{name: ["i1", "x", 7, "x"]})
            with pytest.raises(DataError, match=r"^unknown item 'x0', .*'x9' and 2 more: "):
                who(**{name: many})
        with pytest.raises(ConfigError, match="the list of candidate items is empty"):
            who(items=[])
        with pytest.raises(ConfigError, match="every candidate item is excluded"):
            who(items=["i1"], exclude=["i2", "i1"])
    assert model.recommend("u1", 3, exclude=[])[0].rows() == model.recommend("u1", 3)[0].rows()


@pytest.mark.parametrize(
    ("items", "kind", "reason"),
    [
        ({"u1": ["i1"]}, ConfigError, "items has no candidates for user 'u2'; give this user at least one id"),
        ({"u1": ["i1"], "u2": []}, ConfigError, "items has no candidates for user 'u2'"),
        ({"u1": ["i1"], "u2": ["i1", "x"]}, DataError, "unknown item 'x'"),
        ({"u1": ["i1"], 2.5: ["i1"]}, DataError, r"users of items\[1\] is 2.5"),
    ],
)
def test_candidates_of_users_that_cannot_be_are_refused(model, items, kind, reason):
    with pytest.raises(kind, match=reason):
        model.recommend(["u1", "u2"], items=items)
