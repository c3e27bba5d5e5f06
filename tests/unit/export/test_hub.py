"""A folder for a hub is the model with a card; the card has the figures of its evaluation and no id."""

from __future__ import annotations

import re

import pytest
import yaml

from recsys_dist import load_model
from recsys_dist.errors import DataError


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

    assert (plain.figures["evaluated"], done.figures["evaluated"]) == (False, True)
    assert "## Evaluation" in (tmp_path / "out" / "README.md").read_text()


def test_a_report_of_another_model_is_refused(models, tmp_path):
    load_model(models["autorec-items"]).evaluate(models.dataset).write(tmp_path / "report.json")
    with pytest.raises(DataError, match=r"is about another model .autorec, digest"):
        load_model(models["mf"]).export(tmp_path / "out", "hub-folder", tmp_path / "report.json")
    assert not (tmp_path / "out").exists()
