"""An index answers as `recommend` does; what it found of the exact lists is measured and shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys_dist import load_model
from recsys_dist.errors import ConfigError
from recsys_dist.export import faiss_index, hnsw_index
from tests.support import exported

PRODUCTS = ("mf", "mf-0", "autorec-items", "autorec-users-sigmoid", "ials", "blend-ratings", "blend-lists")


def lists_of(folder: Path, search, n: int) -> list[list[str]]:
    """As a program would that has the files alone."""
    users, item_ids = exported.read(folder, "users"), exported.ids(exported.read(folder, "items"), "item_id")
    found = []
    for query, seen in zip(exported.vectors(users["vector"]), users["seen"].to_pylist(), strict=True):
        numbers = search(query, min(n + len(seen), len(item_ids)))
        found.append([item_ids[number] for number in numbers if number >= 0 and number not in set(seen)][:n])
    return found


def with_faiss(folder: Path):
    import faiss

    index = faiss.read_index(str(folder / "items.faiss"))
    return lambda query, n: index.search(query[None], n)[1][0]


def with_usearch(folder: Path):
    from usearch.index import Index

    index: Any = Index.restore(folder / "items.usearch")
    index.expansion_search = int(json.loads((folder / "export.json").read_text())["effort"].split()[-1])
    return lambda query, n: index.search(query, n, threads=1).keys.astype(int)


def share_found(lists, expected) -> float:
    pairs = list(zip(lists, expected, strict=True))
    return sum(len({*found} & {*exact}) for found, exact in pairs) / sum(len(exact) for _, exact in pairs)


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_exact_index_gives_the_lists_of_the_model(models, name, tmp_path):
    pytest.importorskip("faiss")
    model = load_model(models[name])
    done = model.export(tmp_path / "out", "faiss")

    lists = lists_of(tmp_path / "out", with_faiss(tmp_path / "out"), 10)

    assert exported.ids(exported.read(tmp_path / "out", "users"), "user_id") == list(model.user_ids)
    if name != "mf-0":  # where all users have one list, with ties
        assert lists == [one.item_ids for one in model.recommend(model.user_ids.array, 10)]
    assert done.figures["recall_at_10"] == 1
    assert done.figures["effort"] == "exact"
    assert done.figures["index"].startswith("IndexFlatIP, exact: 60 items")
    assert done.figures["seconds_per_query"] > 0


def test_many_items_are_searched_by_inverted_lists_with_as_many_as_the_recall_needs(models, tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(faiss_index, "EXACT_NUMBERS", 100)
    monkeypatch.setattr(faiss_index, "TRAINED_PER_LIST", 1)
    model = load_model(models["mf"])

    done = model.export(tmp_path / "out", "faiss")

    lists = lists_of(tmp_path / "out", with_faiss(tmp_path / "out"), 10)
    assert done.figures["index"].startswith("IndexIVFFlat by distance, 30 lists: 60 items are too many to scan")
    assert done.figures["effort"].startswith("nprobe ")
    assert done.figures["recall_at_10"] >= 0.99
    expected = [one.item_ids for one in model.recommend(model.user_ids.array, 10)]
    assert share_found(lists, expected) >= 0.98


@pytest.mark.parametrize("name", ["blend-ratings", "autorec-users"])
def test_the_graph_gives_the_lists_of_the_model(models, name, tmp_path):
    pytest.importorskip("usearch")
    model = load_model(models[name])

    done = model.export(tmp_path / "out", "hnsw")

    lists = lists_of(tmp_path / "out", with_usearch(tmp_path / "out"), 10)
    assert done.figures["recall_at_10"] >= 0.99
    assert share_found(lists, [one.item_ids for one in model.recommend(model.user_ids.array, 10)]) >= 0.98
    assert "recall at 10: " in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("to", ["faiss", "hnsw"])
@pytest.mark.parametrize(("name", "kind"), [("ease", "ease"), ("neumf", "neumf"), ("blend-ease", "blend")])
def test_scores_that_are_no_products_are_refused(models, name, kind, to, tmp_path):
    pytest.importorskip("usearch" if to == "hnsw" else to)
    with pytest.raises(ConfigError, match=rf"to {to}: its scores are no inner products .* \(kind: {kind}\)"):
        load_model(models[name]).export(tmp_path / "out", to)
    assert not (tmp_path / "out").exists()


def test_vectors_of_items_have_their_bias_and_those_of_users_a_one(models, tmp_path):
    pytest.importorskip("faiss")
    model = load_model(models["mf"])
    model.export(tmp_path / "out", "faiss")
    users = exported.read(tmp_path / "out", "users")

    products = model.predictor.scorer.scores(model.predictor.known(np.arange(len(users)))).numpy()

    import faiss

    index = faiss.read_index(str(tmp_path / "out" / "items.faiss"))
    queries = exported.vectors(users["vector"])
    assert (queries[:, -1] == 1).all()
    np.testing.assert_allclose(queries @ index.reconstruct_n(0, 60).T, products, atol=1e-5)


def test_the_graph_reaches_all_items_of_positive_vectors_with_a_few_long_ones():
    """As those of an AutoRec: by inner products alone nearly all neighbors would be the long ones."""
    pytest.importorskip("usearch")
    rng = np.random.default_rng(0)
    items = rng.uniform(0.4, 0.6, (1500, 50)).astype(np.float32)
    items[:20] *= 3
    # Users whom the long items do not suit.
    queries = rng.normal(-0.1, 0.2, (50, 50)).astype(np.float32)
    index = hnsw_index.HnswIndex(items)
    index.spend(256)

    found = [index.search(np.append(query, np.float32(0)), 10) for query in queries]

    exact = np.argsort(-(queries @ items.T), axis=1)[:, :10]
    assert np.mean([np.isin(best, mine).mean() for best, mine in zip(exact, found, strict=True)]) > 0.95
