"""Items by what a person types: how well titles match, which item is meant, and what is said if none is."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recsys_dist import load_model
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.items.titles import Match, TitleIndex, words_of
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import write_dataset

TITLES = [
    "Toy Story (1995)",
    "Toy Story 2 (1999)",
    "Matrix, The (1999)",
    "Sabrina (1995)",
    "Sabrina (1954)",
    "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)",
    "Schindler's List (1993)",
    None,
    "1984",
    "...",
    "Heat (1995)",
    "Heat",
    "In the Heat of the Night (1967)",
    "千と千尋の神隠し",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("titles")
    user, item = np.divmod(np.arange(3 * len(TITLES)), len(TITLES))
    dataset = write_dataset(root / "dataset", user, item, 1.0 + (user + item) % 5, np.zeros_like(user))
    write_merged(mf_run(dataset), dataset, root / "model")
    return str(root / "model")


@pytest.fixture
def model(folder, monkeypatch):
    monkeypatch.setattr("recsys_dist.inference.catalog.Catalog.titles", property(lambda _self: pa.array(TITLES)))
    return load_model(folder)


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("Toy Story (1995)", [(Match.TITLE, 0)]),
        ("toy story 1995", [(Match.WORDS, 0)]),
        ("TOY  story", [(Match.WITHOUT_YEAR, 0), (Match.PHRASE, 1)]),
        ("the matrix", [(Match.OTHER_ORDER, 2)]),
        ("The Matrix (1999)", [(Match.OTHER_ORDER, 2)]),
        ("story 2", [(Match.PHRASE, 1)]),
        ("2 toy", [(Match.ALL_WORDS, 1)]),
        ("toy st", [(Match.PART, 0), (Match.PART, 1)]),
        ("amelie", [(Match.PHRASE, 5)]),
        ("AMÉLIE", [(Match.PHRASE, 5)]),
        ("schindlers list", [(Match.WITHOUT_YEAR, 6)]),
        ("schindler’s list", [(Match.WITHOUT_YEAR, 6)]),
        ("Heat", [(Match.TITLE, 11), (Match.WITHOUT_YEAR, 10), (Match.PHRASE, 12)]),
        ("...", [(Match.TITLE, 9)]),
        ("千尋", [(Match.PART, 13)]),
        ("none of these", []),
    ],
)
def test_titles_match_at_levels(text, items):
    assert TitleIndex(TITLES).matches(text) == items


def test_words_have_no_accents_case_or_punctuation():
    assert words_of("  Ça va -- l'Été_(2001)! ") == "ca va lete 2001"
    assert words_of("STRASSE") == words_of("Straße")
    assert words_of("?!") == "?!"


def test_items_are_found_best_first(model):
    found = model.find_items("heat")

    assert found == (["i11", "i10", "i12"], ["Heat", "Heat (1995)", "In the Heat of the Night (1967)"], True)
    assert model.find_items("heat", 1).ids == ["i11"]
    assert repr(found).splitlines()[:3] == ["3 titles", "id   title", "i11  Heat"]


def test_without_a_match_similar_titles_are_given(model):
    found = model.find_items("toi storie", 1)

    assert found == (["i0"], ["Toy Story (1995)"], False)
    assert repr(found).startswith("no title matches; 1 similar titles")
    # The word is not similar to the whole title, but to one word of it.
    assert model.find_items("poulin") == (["i5"], [TITLES[5]], False)
    assert model.find_items("xyzzy") == ([], [], False)


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("toy story", "i0"),
        ("Heat", "i11"),
        ("heat (1995)", "i10"),
        ("the matrix", "i2"),
        ("night", "i12"),
        ("i4", "i4"),
        ("1984", "i8"),
    ],
)
def test_the_item_that_is_meant_is_one(model, text, item):
    assert model.item_by_title(text) == item


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "sabrina",
            r"^2 titles match 'sabrina': 'Sabrina \(1995\)' \(id i3\), 'Sabrina \(1954\)' \(id i4\); give",
        ),
        ("toy", r"^2 titles match 'toy': 'Toy Story \(1995\)' \(id i0\), 'Toy Story 2 \(1999\)' \(id i1\); give"),
        ("toi story", r"^no title matches 'toi story'; the most similar are 'Toy Story \(1995\)' \(id i0\)"),
        ("xyzzy", "^no title matches 'xyzzy'$"),
    ],
)
def test_an_item_that_is_not_clear_is_refused_with_others(model, text, reason):
    with pytest.raises(DataError, match=reason):
        model.item_by_title(text)


def test_at_most_ten_items_are_named(model, monkeypatch):
    same = pa.array(["Film"] * len(TITLES))
    monkeypatch.setattr("recsys_dist.inference.catalog.Catalog.titles", property(lambda _self: same))

    with pytest.raises(
        DataError, match=r"^14 titles match 'film': 'Film' \(id i0\), .* \(id i9\) and 4 more; give"
    ):
        model.item_by_title("film")
    # Of several items with one title, the id says which is meant.
    assert model.item_by_title("i9") == "i9"


def test_a_model_without_titles_knows_ids_alone(model, monkeypatch):
    nothing = pa.nulls(len(TITLES), pa.string())
    monkeypatch.setattr("recsys_dist.inference.catalog.Catalog.titles", property(lambda _self: nothing))

    for search in (model.find_items, model.item_by_title):
        with pytest.raises(DataError, match=r"has no titles; name items by their ids, or prepare the data with"):
            search("toy story")
    assert model.item_by_title("i3") == "i3"


@pytest.mark.parametrize("text", ["", "  ", 7, None])
def test_what_is_no_text_is_refused(model, text):
    for search in (model.find_items, model.item_by_title):
        with pytest.raises(ConfigError, match="is not a title; give some words of it"):
            search(text)
    with pytest.raises(ConfigError, match="a list of 0 items is impossible"):
        model.find_items("toy", 0)
