"""Lists of all users: the same file whether a search skips items or all items are scored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys_dist import load_model
from recsys_dist.blending.blend import blend
from recsys_dist.errors import ConfigError
from recsys_dist.inference import all_users
from recsys_dist.inference.all_users import ALL_ITEMS, write_all_lists
from recsys_dist.inference.criterion import RankingCriterion
from recsys_dist.inference.items.choice import ItemChoice
from recsys_dist.inference.pruning import search
from recsys_dist.inference.pruning.search import PrunedSearch
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Model folders by name; the blend has three products of vectors."""
    folder = tmp_path_factory.mktemp("models")
    dataset = small_dataset(folder / "dataset")
    runs = {"mf": mf_run(dataset), "items": autorec_run(dataset, "items"), "users": autorec_run(dataset, "users")}
    for name, run in runs.items():
        write_merged(run, dataset, folder / name)
    parts = [str(folder / name) for name in runs]
    blend(parts, dataset.folder.url, str(folder / "blend"), "ratings", [0.5, 0.3, -0.2])
    return folder


@pytest.fixture(params=["mf", "items", "users", "blend"])
def model(request, folders):
    return load_model(str(folders / request.param))


@pytest.fixture
def searches(monkeypatch):
    """Makes a search of a few items worth its while; the list of what each block came to."""
    monkeypatch.setattr(search, "LEAST_ITEMS", 1)
    monkeypatch.setattr(search, "MOST_USERS", 50)
    found = []
    best = PrunedSearch.best

    def noted(self, users, seen):
        found.append(best(self, users, seen))
        return found[-1]

    monkeypatch.setattr(PrunedSearch, "best", noted)
    return found


def spoilt(users, is_spoilt_B):
    """Users of a matrix factorization, some of them without a finite vector."""
    users.means.vector_BK[is_spoilt_B] = np.nan
    return users


def table_of(model, path: Path, include_seen: bool = False, choice: ItemChoice = ALL_ITEMS, n: int = 6):
    written = write_all_lists(
        model.predictor, path / "lists.parquet", n, include_seen, RankingCriterion(), lambda *_: None, choice
    )
    return pq.read_table(path / "lists.parquet"), written


@pytest.mark.parametrize("include_seen", [False, True])
@pytest.mark.parametrize("choice", ["all", "excluded", "candidates"])
def test_a_search_writes_the_same_file(model, searches, monkeypatch, tmp_path, include_seen, choice):
    ids = {
        "all": (None, None),
        "excluded": (None, ["i0", "i7"]),
        "candidates": ([f"i{i}" for i in range(30)], None),
    }
    of_choice = ItemChoice.of(model.catalog, *ids[choice])
    found = table_of(model, tmp_path, include_seen, of_choice)
    assert len(searches) > 1
    assert None not in searches

    monkeypatch.setattr(search, "LEAST_ITEMS", 10**9)
    expected = table_of(model, tmp_path, include_seen, of_choice)

    assert found[0].equals(expected[0])
    assert found[1] == expected[1]


def test_lists_may_be_longer_than_the_catalog(model, searches, monkeypatch, tmp_path):
    found = table_of(model, tmp_path, n=200)
    assert searches
    monkeypatch.setattr(search, "LEAST_ITEMS", 10**9)

    assert found[0].equals(table_of(model, tmp_path, n=200)[0])


def test_blocks_with_scores_that_are_not_finite_are_scored_whole(folders, searches, monkeypatch, tmp_path):
    model = load_model(str(folders / "mf"))
    known = model.predictor.scorer.known
    monkeypatch.setattr(model.predictor.scorer, "known", lambda user_B: spoilt(known(user_B), user_B == 60))
    monkeypatch.setattr(all_users, "BLOCK_FLOATS", 7 * len(model.item_ids))

    found, _ = table_of(model, tmp_path)
    assert [one is None for one in searches] == [False, True, False]

    monkeypatch.setattr(search, "LEAST_ITEMS", 10**9)
    expected, _ = table_of(model, tmp_path)
    for name in ("user_id", "rank", "item_id"):
        assert found.column(name).equals(expected.column(name))


@pytest.mark.usefixtures("searches")
@pytest.mark.parametrize("n", [0, -3])
def test_lists_of_nothing_are_refused_and_leave_no_file(folders, tmp_path, n):
    with pytest.raises(ConfigError, match=f"a list of {n} items is impossible"):
        table_of(load_model(str(folders / "mf")), tmp_path, n=n)
    assert not list(tmp_path.iterdir())
