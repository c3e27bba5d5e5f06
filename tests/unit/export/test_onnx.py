"""Encoder and decoder in ONNX answer as the model folds in a new user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys_dist import load_model
from recsys_dist.errors import CheckpointError, ConfigError
from recsys_dist.export import onnx_files
from tests.support import exported
from tests.support.merged import autorec_run, write_merged

onnxruntime = pytest.importorskip("onnxruntime")
FORMS = [
    {},
    {"output_activation": "sigmoid", "hidden_activation": "elu", "centring": "mean"},
    {"hidden_activation": "tanh", "implicit_input": 0.3},
]


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def predicted(folder, rating_BI: np.ndarray) -> np.ndarray:
    """From rows with NaN where nothing is rated."""
    encoder, decoder = session(folder / "encoder.onnx"), session(folder / "decoder.onnx")
    vector, bias = encoder.run(None, {"rating": rating_BI, "is_rated": ~np.isnan(rating_BI)})
    (rating,) = decoder.run(None, {"vector": vector, "bias": bias})
    return rating


def some_rows(num_items: int) -> np.ndarray:
    """Users with no rating, one, and many; the last has rated everything."""
    rng = np.random.default_rng(0)
    counts = [0, 1, 2, 5, 20, num_items]
    rows = np.full((len(counts), num_items), np.nan, np.float32)
    for row, count in zip(rows, counts, strict=True):
        row[rng.choice(num_items, count, replace=False)] = rng.integers(2, 11, count) / 2
    return rows


def folded(model, row: np.ndarray) -> np.ndarray:
    items = np.flatnonzero(~np.isnan(row))
    user = model.fold_in([f"i{item}" for item in items], row[items])
    return user.predict(list(model.item_ids))


@pytest.mark.parametrize("settings", FORMS, ids=["plain", "sigmoid", "implicit"])
def test_the_network_answers_as_the_model(models, settings, tmp_path):
    write_merged(autorec_run(models.dataset, "users", **settings), models.dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    done = model.export(tmp_path / "out", "onnx")

    rows = some_rows(60)
    found = predicted(tmp_path / "out", rows)
    np.testing.assert_allclose(found, [folded(model, row) for row in rows], atol=1e-4)
    np.testing.assert_allclose(predicted(tmp_path / "out", rows[2:3]), found[2:3], atol=1e-5)
    assert exported.ids(exported.read(tmp_path / "out", "items"), "item_id") == list(model.item_ids)
    assert done.figures["users_checked"] == 64
    assert 0 <= done.figures["largest_difference"] < 1e-4
    assert done.figures["opset"] == 17


def test_a_deep_network_with_normalized_lengths(models, tmp_path):
    """Trained, so that it has several layers and short rows are shrunk."""
    from tests.families.cases import config_of, merged, train_alone

    config = config_of("autorec-users", models.dataset.folder.url, tmp_path / "run", epochs=2)
    deep = {"hidden": (6, 4), "length_normalization": 0.5, "implicit_input": 0.2}
    config = config.model_copy(update={"model": config.model.model_copy(update=deep)})
    train_alone(config)
    model = load_model(merged(config, tmp_path / "model"))
    fold_in: Any = model.manifest.facts["fold_in"]
    assert fold_in["short_length"] > 1
    assert fold_in["length_normalization"] == 0.5

    model.export(tmp_path / "out", "onnx")

    rows = some_rows(60)
    found = predicted(tmp_path / "out", rows)
    np.testing.assert_allclose(found, [folded(model, row) for row in rows], atol=1e-4)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("autorec-items", "an item-AutoRec folds users in by a ridge regression, not by its encoder"),
        ("mf", r"it has no network that reads the ratings of a user \(kind: mf\)"),
        ("ease", r"it has no network that reads the ratings of a user \(kind: ease\)"),
    ],
)
def test_a_model_without_such_a_network_is_refused(models, name, reason, tmp_path):
    with pytest.raises(ConfigError, match=reason):
        load_model(models[name]).export(tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [0.5, np.nan])
def test_a_network_that_answers_otherwise_is_not_written(models, tmp_path, monkeypatch, wrong):
    of_model = onnx_files._of_model
    monkeypatch.setattr(onnx_files, "_of_model", lambda *given: of_model(*given) + np.float32(wrong))
    with pytest.raises(CheckpointError, match="onnxruntime differ from those of the model by up to"):
        load_model(models["autorec-users"]).export(tmp_path / "out", "onnx")
    assert not (tmp_path / "out").exists()
