"""Top-N lists against a full sort of all items."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from recsys_dist import load_model
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference import top
from recsys_dist.inference.lists import write_lists
from recsys_dist.inference.top import top_items
from tests.support.merged import autorec_run, mf_run, train_matrix, write_merged
from tests.support.prepared import small_dataset, write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module", params=["mf", "items", "users"])
def model(request, tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset) if request.param == "mf" else autorec_run(dataset, request.param), dataset, path)
    return load_model(str(path))


def unclipped(model, user: int, num_items: int) -> np.ndarray:
    return model.predict_indices(np.full(num_items, user), np.arange(num_items), clip=False)


def test_lists_are_the_best_unseen_items_in_order(model, dataset, monkeypatch):
    ratings = train_matrix(dataset)
    monkeypatch.setattr(top, "SCORE_BLOCK_FLOATS", 7 * dataset.num_items)

    lists = model.recommend([f"u{user}" for user in range(dataset.num_users)], n=8)

    for user, recommended in enumerate(lists):
        scores = unclipped(model, user, dataset.num_items)
        scores[~np.isnan(ratings[user])] = -np.inf
        best = np.argsort(-scores, kind="stable")[:8]
        assert recommended.item_ids == [f"i{item}" for item in best]
        assert recommended.titles == [f"Film {item}" if item % 10 else None for item in best]
        np.testing.assert_allclose(recommended.scores, np.clip(scores[best], 1, 5), atol=1e-5)
        assert (recommended.stds is None) == (not model.knows_uncertainty)


def test_a_list_is_shorter_where_fewer_items_are_unseen(model, dataset):
    seen = int((~np.isnan(train_matrix(dataset)[3])).sum())

    (unseen_only,) = model.recommend("u3", n=1000)
    (everything,) = model.recommend("u3", n=1000, include_seen=True)

    assert len(unseen_only.item_ids) == dataset.num_items - seen
    assert len(everything.item_ids) == dataset.num_items


def test_ratings_of_other_splits_are_left_out_where_a_dataset_is_named(model, dataset):
    held_out = {
        f"i{item}"
        for shard in range(len(dataset.shards("users")))
        for split in ("valid", "test")
        for user, item in zip(
            dataset.ratings(split, shard).user_index, dataset.ratings(split, shard).item_index, strict=True
        )
        if user == 5
    }
    assert held_out

    (without,) = model.recommend("u5", n=1000)
    (named,) = model.recommend("u5", n=1000, also_seen=dataset.folder.url)

    assert set(without.item_ids) - set(named.item_ids) == held_out


def test_a_dataset_is_opened_once_for_many_blocks_of_users(model, dataset, monkeypatch):
    users = [f"u{user}" for user in (7, 5, 119, 7, 0)] + ["nobody"]
    at_once = model.recommend(users, n=1000, also_seen=dataset.folder.url)
    monkeypatch.setattr(top, "SCORE_BLOCK_FLOATS", dataset.num_items)
    opened: list[str] = []
    open_dataset = Dataset.open

    def counted(url: str) -> Dataset:
        opened.append(url)
        return open_dataset(url)

    monkeypatch.setattr(Dataset, "open", counted)

    one_by_one = model.recommend(users, n=1000, also_seen=dataset.folder.url)

    assert [one.item_ids for one in one_by_one] == [one.item_ids for one in at_once]
    assert at_once[0].item_ids == at_once[3].item_ids
    assert opened == [dataset.folder.url]


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
def test_a_list_of_nothing_is_refused(model, n):
    for who in (lambda: model.recommend("u1", n), lambda: model.fold_in(["i1"], [4]).recommend(n)):
        with pytest.raises(ConfigError, match=f"a list of {n} items is impossible"):
            who()


def test_a_dataset_with_other_indices_is_matched_by_raw_ids(tmp_path, model):
    other = write_dataset(
        tmp_path / "other", np.array([2, 2]), np.array([0, 1]), np.array([3.0, 4.0]), np.array([0, 2])
    )
    (plain,) = model.recommend("u2", n=1000)

    (named,) = model.recommend("u2", n=1000, also_seen=other.folder.url)

    assert set(plain.item_ids) - set(named.item_ids) <= {"i0", "i1"}
    assert not {"i0", "i1"} & set(named.item_ids)


@pytest.mark.parametrize("n", [1, 3, 5, 6])
def test_equal_scores_go_by_item(n):
    scores = torch.tensor([[1.0, 2, 2, 2, 2, 1], [0, 0, 0, 0, 0, 0], [5, 4, 5, 4, 5, 4]])

    items, values = top_items(scores, n)

    for row in range(3):
        expected = np.argsort(-scores[row].numpy(), kind="stable")[:n]
        assert items[row].tolist() == expected.tolist()
        assert values[row].tolist() == scores[row][items[row]].tolist()


def test_many_equal_scores_are_chosen_the_same_way_every_time():
    scores = torch.randint(0, 3, (20, 5000), generator=torch.Generator().manual_seed(0)).float()
    scores[:, ::2] = -torch.inf

    items, _ = top_items(scores, 50)

    assert items.tolist() == scores.sort(dim=1, descending=True, stable=True).indices[:, :50].tolist()


@pytest.mark.parametrize("num_items", [5000, 6000, 6001])
def test_the_best_of_many_items_are_those_of_a_full_sort(num_items):
    scores = torch.randn((30, num_items), generator=torch.Generator().manual_seed(0))
    scores[:10] = (4 * scores[:10]).round()
    scores[20:, 7:] = -torch.inf

    items, values = top_items(scores, 10)

    expected = scores.sort(dim=1, descending=True, stable=True)
    assert torch.equal(values, expected.values[:, :10])
    is_wanted = ~values.isneginf()
    assert torch.equal(items[is_wanted], expected.indices[:, :10][is_wanted])


def test_unknown_users_are_named(model):
    model.require_users(["u1", "u2"])
    with pytest.raises(DataError, match="unknown user 'u999', 'x': "):
        model.require_users(["u1", "u999", "x"])


def test_lists_are_written_as_json_and_csv(tmp_path, model):
    lists = model.recommend(["u1", "u2"], 3)

    write_lists(lists, tmp_path / "lists.json")
    write_lists(lists, tmp_path / "lists.csv")

    tree = json.loads((tmp_path / "lists.json").read_text())
    rows = list(csv.DictReader((tmp_path / "lists.csv").read_text().splitlines()))
    assert [(one["user_id"], item["item_id"]) for one in tree for item in one["items"]] == [
        (row["user_id"], row["item_id"]) for row in rows
    ]
    assert [row["rank"] for row in rows] == ["1", "2", "3"] * 2
    with pytest.raises(ConfigError, match=r"must end in \.json or \.csv"):
        write_lists(lists, tmp_path / "lists.xml")


def test_blocks_of_users_bound_the_scores():
    assert top.users_per_block(45_000) * 45_000 <= top.SCORE_BLOCK_FLOATS
    assert top.users_per_block(10**9) == 1


def test_seen_items_are_either_wanted_or_not(model, dataset):
    with pytest.raises(ConfigError, match="include_seen and also_seen contradict each other"):
        model.recommend("u1", include_seen=True, also_seen=dataset.folder.url)
