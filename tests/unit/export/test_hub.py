"""A folder for a hub is the model with a card; the card has the figures of its evaluation and no id."""

from __future__ import annotations

import re

import numpy as np
import pytest
import yaml

from recsys_dist import load_model
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.families.mf.family import MatrixFactorization
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.protocols.family import ModelFamily


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_the_folder_is_the_model(models, tmp_path):
    model = load_model(models["mf"])
    model.export(tmp_path / "out", "hub-folder")

    copy = load_model(str(tmp_path / "out"), verify=True)

    assert copy.manifest == model.manifest
    assert copy.recommend("u3", 5)[0].item_ids == model.recommend("u3", 5)[0].item_ids
    assert copy.predict("u1", "i2", return_std=True) == model.predict("u1", "i2", return_std=True)


@pytest.mark.parametrize("name", ["mf", "ease"])
def test_the_card_has_counts_settings_and_figures_but_no_id(models, name, tmp_path):
    model = load_model(models[name])
    report = model.evaluate(models.dataset, top=[5, 10])
    report.write(tmp_path / "figures.json")

    model.export(tmp_path / "out", "hub-folder", evaluation=tmp_path / "figures.json")

    text = (tmp_path / "out" / "README.md").read_text()
    assert header(text)["library_name"] == "recsys_dist"
    assert name in header(text)["tags"]
    shown = {one["type"]: one["value"] for one in header(text)["model-index"][0]["results"][0]["metrics"]}
    assert shown["ndcg@5"] == pytest.approx(report.ranking.at(5).ndcg, abs=1e-6)
    assert ("rmse" in shown) == report.predicts_ratings
    assert f"| this model | 10 | {report.ranking.at(10).ndcg:.4f} |" in text
    assert "| users | 120 |" in text
    assert not re.search(r"\b[ui]\d+\b|Film", text)
    assert str(tmp_path.parent.parent) not in text


def test_a_report_in_the_model_folder_is_found(models, tmp_path):
    model = load_model(models["mf"])
    plain = model.export(tmp_path / "plain", "hub-folder")
    load_model(str(tmp_path / "plain")).evaluate(models.dataset).write(tmp_path / "plain" / "report.json")

    done = load_model(str(tmp_path / "plain")).export(tmp_path / "out", "hub-folder")

    assert (plain.figures["is_evaluated"], done.figures["is_evaluated"]) == (False, True)
    assert "## Evaluation" in (tmp_path / "out" / "README.md").read_text()


def test_a_report_of_another_model_is_refused(models, tmp_path):
    load_model(models["autorec-items"]).evaluate(models.dataset).write(tmp_path / "report.json")
    with pytest.raises(DataError, match=r"is about another model .autorec, digest"):
        load_model(models["mf"]).export(tmp_path / "out", "hub-folder", tmp_path / "report.json")
    assert not (tmp_path / "out").exists()


KINDS = (
    "mf",
    "autorec-items",
    "autorec-users",
    "ials",
    "ease",
    "ease-sparse",
    "neumf",
    "blend-lists",
    "blend-ease",
)


@pytest.mark.parametrize("name", KINDS)
def test_a_copy_without_users_folds_in_like_the_model(models, name, tmp_path):
    model = load_model(models[name])
    done = model.export(tmp_path / "out", "hub-folder", without_users=True)

    copy = load_model(str(tmp_path / "out"), verify=True)

    assert copy.manifest.contents_digest == done.figures["digest"] != model.manifest.contents_digest
    liked = ["i3", "i8", "i11"], [5, 4.5, 1]
    for one, other in ((model, copy), (model.fold_in(*liked), copy.fold_in(*liked))):
        lists = [
            whose.recommend("nobody", 10)[0] if whose in (model, copy) else whose.recommend(10)
            for whose in (one, other)
        ]
        assert lists[0].item_ids == lists[1].item_ids
        np.testing.assert_allclose(lists[0].scores, lists[1].scores, rtol=1e-6)
        if lists[0].stds is not None:
            np.testing.assert_allclose(lists[0].stds, np.array(lists[1].stds), rtol=1e-6)


@pytest.mark.parametrize("name", ["mf-noise", "ease", "blend-lists"])
def test_a_copy_without_users_has_none(models, name, tmp_path):
    model = load_model(models[name])
    model.export(tmp_path / "out", "hub-folder", without_users=True)

    copy = ModelFolder.open(str(tmp_path / "out"))

    assert copy.ids("users").to_pylist() == ["nobody"]
    assert sum(copy.block(shard).num_ratings for shard in range(len(copy.manifest.user_shards))) == 0
    users = model.folder.num_rows("users")
    assert not [record.name for record in copy.manifest.files if record.rows in {users, users + 1}]
    text = (tmp_path / "out" / "model.json").read_text() + (tmp_path / "out" / "README.md").read_text()
    assert str(tmp_path.parent.parent) not in text
    assert "The folder holds no user and no rating" in text
    assert "user_ids" not in text


def test_a_copy_without_users_says_why_it_knows_none(models, tmp_path):
    load_model(models["mf"]).export(tmp_path / "out", "hub-folder", without_users=True)
    with pytest.raises(DataError, match=r"unknown user 'u3': .* was exported without users; it makes lists from"):
        load_model(str(tmp_path / "out")).similar_users("u3")


def test_a_copy_without_users_has_no_grid(models, tmp_path):
    load_model(models["mf"]).export(tmp_path / "out", "hub-folder", without_users=True)
    visitor = load_model(str(tmp_path / "out")).fold_in(["i1"], [5])
    assert len(visitor.predict_interval(["i2"])[0]) == 1
    with pytest.raises(ConfigError, match="distinct ratings, too many for a grid, or has none of them"):
        visitor.predict_probabilities(["i2"])


def test_a_copy_without_users_is_not_evaluated_but_exported(models, tmp_path):
    load_model(models["mf"]).export(tmp_path / "out", "hub-folder", without_users=True)
    copy = load_model(str(tmp_path / "out"))

    with pytest.raises(ConfigError, match="was exported without users, so that no held-out rating can be matched"):
        copy.evaluate(models.dataset, allow_other_split=True)
    assert copy.export(tmp_path / "tables").figures["ratings"] == 0
    pytest.importorskip("faiss")
    done = copy.export(tmp_path / "index", "faiss")
    assert done.figures["recall_at_10"] is None
    assert "recall at 10: not measured" in (tmp_path / "index" / "README.md").read_text()


def test_a_family_that_does_not_know_its_tables_keeps_its_users(models, tmp_path, monkeypatch):
    monkeypatch.setattr(MatrixFactorization, "tables_of_users", ModelFamily.tables_of_users)
    for name in ("mf", "blend-lists"):
        with pytest.raises(ConfigError, match="does not say which tables know users; implement `tables_of_users`"):
            load_model(models[name]).export(tmp_path / "out", "hub-folder", without_users=True)
    assert not (tmp_path / "out").exists()
