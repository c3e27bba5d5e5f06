"""What a dataset, a model and its answers say of themselves in a notebook or a debugger, and ids as a sequence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from recsys_dist import load_model
from recsys_dist.inference import ids as ids_module
from recsys_dist.inference.ids import IdIndex
from recsys_dist.inference.lists import Recommendations
from recsys_dist.inference.similar import Similar
from recsys_dist.plain_text import text_table
from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def model(tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset), dataset, path)
    return load_model(str(path))


def test_a_dataset_says_where_it_is_and_what_it_holds(dataset):
    counts = dataset.manifest.num_ratings

    assert repr(dataset) == (
        f"<Dataset {dataset.folder.url!r}: 120 users, 60 items; ratings: {counts['train']:,} train, "
        f"{counts['valid']:,} valid, {counts['test']:,} test>"
    )
    assert dataset.user_ids[:2] == ["u0", "u1"]
    assert "i59" in dataset.item_ids


def test_a_model_and_a_user_say_what_they_are(model):
    shown = f"<Model {model.folder.folder.url!r}: mf, 120 users, 60 items, on cpu>"
    assert repr(model) == shown
    assert repr(model.fold_in(["i1", "i2"], [3, 4])) == f"<FoldedUser new: 2 rated items, of {shown}>"
    assert repr(model.fold_in([], [], user_id="u7")).startswith("<FoldedUser 'u7': ")


def test_lists_are_small_tables(model):
    lines = repr(model.recommend(["u3"], 3)[0]).splitlines()
    assert lines[0] == "3 recommendations for 'u3'"
    assert lines[1].split() == ["score", *["std"] * model.knows_uncertainty, "item_id", "title"]
    assert len(lines) == 5
    assert repr(model.similar_items("i1", 2)).splitlines()[0] == "2 most similar"

    scores = np.array([4.25, 10], np.float32)
    plain = Recommendations("", ["a", "long id"], [None, None], scores, None)
    assert repr(plain) == "2 recommendations for a new user\n  score  item_id\n 4.2500  a\n10.0000  long id"
    assert repr(Recommendations("u", [], [], scores[:0], None)) == "0 recommendations for 'u'"
    assert repr(Similar(["a"], ["A"], scores[:1])) == "1 most similar\nsimilarity  id  title\n    4.2500  a   A"


def test_what_a_terminal_would_obey_is_not_shown():
    assert "\x1b" not in text_table([["id"], ["\x1b[2J"]], numbers=0)


def test_ids_are_a_sequence_of_texts(monkeypatch):
    monkeypatch.setattr(ids_module, "IDS_AT_ONCE", 2)
    ids = IdIndex(pa.array(["1", "02", "x", "y", "z", "w"]), "item_ids")

    assert list(ids) == ["1", "02", "x", "y", "z", "w"]
    assert (ids[0], ids[-1], ids[np.int64(1)], ids[1:3]) == ("1", "w", "02", ["02", "x"])
    assert "x" in ids
    assert 1 in ids
    assert all(one not in ids for one in ("2", 2, None, 1.0, b"x", ["x"]))
    with pytest.raises(IndexError):
        ids[6]
    assert repr(ids) == "<6 item_ids: '1', '02', 'x', 'y', 'z', ...>"
