"""Factors and weights in Parquet: pyarrow and numpy alone make the predictions and the lists of the model."""

from __future__ import annotations

import json

import numpy as np
import pytest

from recsys_dist import load_model
from recsys_dist.errors import ConfigError
from recsys_dist.export import parquet, tables
from tests.support import exported

FACTORED = (
    *("mf", "mf-0", "autorec-items", "autorec-users", "autorec-users-sigmoid"),
    *("ials", "blend-ratings", "blend-lists"),
)
TOLERANCE = 1e-5


def of_model(model):
    """Predictions of all pairs, or scores of a model that ranks."""
    num_users, num_items = len(model.user_ids), len(model.item_ids)
    user, item = np.divmod(np.arange(num_users * num_items), num_items)
    return model.predictor.ratings(*model.predictor.by_index(user, item)).reshape(num_users, num_items)


@pytest.mark.parametrize("name", FACTORED)
def test_factors_predict_and_list_as_the_model(models, name, tmp_path, monkeypatch):
    for module in (parquet, tables):
        monkeypatch.setattr(
            module, "ranges", lambda rows: ((start, min(start + 50, rows)) for start in range(0, rows, 50))
        )
    model = load_model(models[name])

    done = model.export(tmp_path / "out")

    user_ids = exported.ids(exported.read(tmp_path / "out", "users"), "user_id")
    assert user_ids == list(model.user_ids)
    found = exported.predictions_of_factors(tmp_path / "out")
    np.testing.assert_allclose(found, of_model(model), atol=TOLERANCE)
    scores = exported.scores_of_factors(tmp_path / "out")
    assert exported.lists(scores, tmp_path / "out", user_ids, 10) == [
        one.item_ids for one in model.recommend(user_ids, 10)
    ]
    assert done.figures["ratings"] == models.dataset.manifest.num_ratings["train"]


def test_unknown_users_and_items_stand_in_the_metadata(models, tmp_path):
    model = load_model(models["autorec-users"])
    model.export(tmp_path / "out")
    users, items = exported.read(tmp_path / "out", "users"), exported.read(tmp_path / "out", "items")

    nobody, nothing = exported.about(users)["unknown"], exported.about(items)["unknown"]

    row = exported.vectors(items["factors"])[4]
    known = exported.about(users)["offset"] + nobody["bias"] + items["bias"][4].as_py() + row @ nobody["factors"]
    assert np.clip(known, 1, 5) == pytest.approx(model.predict("nobody", "i4")[0], abs=TOLERANCE)
    nowhere = exported.about(users)["offset"] + nobody["bias"] + nothing["bias"]
    nowhere += np.dot(nobody["factors"], nothing["factors"])
    assert np.clip(nowhere, 1, 5) == pytest.approx(model.predict("nobody", "nothing")[0], abs=TOLERANCE)


@pytest.mark.parametrize("name", ["ease", "ease-sparse"])
def test_weights_score_and_list_as_the_model(models, name, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "WEIGHTS_AT_ONCE", 700)
    model = load_model(models[name])
    user_ids = list(model.user_ids)

    done = model.export(tmp_path / "out")

    scores = exported.predictions_of_weights(tmp_path / "out", user_ids)
    np.testing.assert_allclose(scores, of_model(model), atol=TOLERANCE)
    assert exported.lists(scores, tmp_path / "out", user_ids, 10) == [
        one.item_ids for one in model.recommend(user_ids, 10)
    ]
    assert done.figures["weights"] == len(exported.read(tmp_path / "out", "weights"))


def test_titles_and_counts_are_there_and_the_readme_has_the_numbers(models, tmp_path):
    model = load_model(models["autorec-users-sigmoid"])
    model.export(tmp_path / "out")

    items, rule = (
        exported.read(tmp_path / "out", "items"),
        exported.about(exported.read(tmp_path / "out", "items")),
    )
    text = (tmp_path / "out" / "README.md").read_text()

    assert items["title"].to_pylist() == model.titles.to_pylist()
    assert items["num_train"].to_pylist() == model.folder.num_train("items").tolist()
    assert f"offset = {rule['offset']}" in text
    assert "link.low + link.width * sigmoid(link.intercept + link.slope * score)" in text
    assert json.loads((tmp_path / "out" / "export.json").read_text())["formula"]["clip"] == [1.0, 5.0]


@pytest.mark.parametrize(("name", "kind"), [("neumf", "neumf"), ("blend-ease", "blend")])
def test_a_model_of_another_form_is_refused_and_nothing_is_left(models, name, kind, tmp_path):
    with pytest.raises(
        ConfigError, match=rf"its predictions are no products of factors plus biases \(kind: {kind}\)"
    ):
        load_model(models[name]).export(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
