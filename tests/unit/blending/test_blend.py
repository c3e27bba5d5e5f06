"""Blends: what they predict is the weighted sum of what their models predict, with weights from seen ratings."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import recsys_dist
from recsys_dist.api.model import load_model
from recsys_dist.blending.blend import blend
from recsys_dist.cli import main
from recsys_dist.errors import CheckpointError, ConfigError, RecsysDistError
from recsys_dist.model_folder.folder import ModelFolder
from tests.families.cases import config_of, merged, train_alone
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset

USERS, ITEMS = 200, 80


def dataset_with(path: Path, valid_share: float):
    """About 5,000 ratings; a tenth of them test ratings."""
    user, item, rating = low_rank_ratings(USERS, ITEMS, 16000)
    draw = np.random.default_rng(1).random(len(user))
    split = np.where(draw < 0.1, 2, np.where(draw < 0.1 + valid_share, 1, 0))
    return write_dataset(path, user, item, rating, split, USERS, ITEMS)


def models_of(dataset, folder: Path, names: tuple[str, ...]) -> list[str]:
    paths = []
    for name in names:
        config = config_of(name, dataset.folder.url, folder / f"{name}-run", epochs=8)
        train_alone(config)
        paths.append(merged(config, folder / name))
    return paths


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A dataset with validation ratings and three models of it."""
    folder = tmp_path_factory.mktemp("blends")
    dataset = dataset_with(folder / "data", valid_share=0.2)
    return dataset, models_of(dataset, folder, ("mf-full", "autorec-items", "autorec-users"))


def pairs_of_everyone() -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(3)
    users = [*(f"u{user}" for user in rng.integers(0, USERS, 300)), "nobody", "u1", "nobody"]
    items = [*(f"i{item}" for item in rng.integers(0, ITEMS, 300)), "i1", "nothing", "nothing"]
    return users, items


def unclipped(path: str) -> np.ndarray:
    model, (users, items) = load_model(path), pairs_of_everyone()
    return model.predict_indices(model.user_ids.find(users), model.item_ids.find(items), clip=False)


def test_predictions_are_the_weighted_sum_and_fit_the_validation_ratings_best(made, tmp_path):
    dataset, models = made
    done = blend(models, dataset.folder.url, str(tmp_path / "blend"), goal="ratings")
    expected = done.fitted.intercept + sum(
        weight * unclipped(path) for weight, path in zip(done.fitted.weights, models, strict=True)
    )
    np.testing.assert_allclose(unclipped(str(tmp_path / "blend")), expected, atol=1e-5)
    assert done.fitted.alone is not None
    assert done.fitted.blend is not None
    assert done.fitted.blend <= min(done.fitted.alone) + 1e-6
    report = load_model(str(tmp_path / "blend")).evaluate(dataset, split="valid", ranking_users=0)
    assert report.rmse == pytest.approx(done.fitted.blend, abs=1e-5)


def test_lists_rank_by_the_weighted_sum_of_scores(made, tmp_path):
    dataset, models = made
    done = blend(models, dataset.folder.url, str(tmp_path / "blend"), goal="lists")
    assert done.fitted.alone is not None
    assert done.fitted.blend is not None
    assert done.fitted.blend >= max(done.fitted.alone)
    ranking = load_model(str(tmp_path / "blend")).evaluate(dataset, split="valid").ranking
    assert ranking.at(10).ndcg == pytest.approx(done.fitted.blend, abs=1e-6)
    known = torch.arange(USERS + 1)
    expected = torch.zeros(USERS + 1, ITEMS)
    for weight, path in zip(done.fitted.weights, models, strict=True):
        scorer = load_model(path).predictor.scorer
        expected += weight * scorer.scores(scorer.known(known))
    scorer = load_model(str(tmp_path / "blend")).predictor.scorer
    torch.testing.assert_close(scorer.scores(scorer.known(known)), expected, atol=1e-4, rtol=1e-4)


def test_lists_of_a_blend_for_ratings_are_in_the_order_of_its_ratings(made, tmp_path):
    dataset, models = made
    blend(models, dataset.folder.url, str(tmp_path / "blend"), "ratings", weights=[0.5, 0.3, 0.2])
    model = load_model(str(tmp_path / "blend"))
    users = [f"u{user}" for user in range(0, USERS, 9)]
    for one in model.recommend(users, n=ITEMS, include_seen=True):
        rating = model.predict_indices(
            model.user_ids.find([one.user_id] * ITEMS), model.item_ids.find(one.item_ids), clip=False
        )
        assert (np.diff(rating) <= 1e-5).all()


def test_a_new_user_is_folded_into_every_part(made, tmp_path):
    dataset, models = made
    weights = [0.5, 0.3, 0.2]
    blend(models, dataset.folder.url, str(tmp_path / "blend"), "ratings", weights)
    of_parts = [folded_in_ratings(path) for path in models]
    expected = np.average(of_parts, axis=0, weights=weights)
    np.testing.assert_allclose(folded_in_ratings(str(tmp_path / "blend")), expected, atol=1e-4)


def folded_in_ratings(path: str) -> np.ndarray:
    """Predictions of all items for a new user, not clipped."""
    scorer = load_model(path).predictor.scorer
    users = scorer.fold_in(torch.tensor([1, 2, 30]), torch.tensor([5.0, 1.0, 3.0]), is_new=True)
    return scorer.ratings(users, torch.zeros(ITEMS, dtype=torch.int64), torch.arange(ITEMS)).numpy()


def test_without_validation_ratings_weights_come_from_train_ratings_and_never_from_test(tmp_path):
    dataset = dataset_with(tmp_path / "data", valid_share=0.0)
    models = models_of(dataset, tmp_path, ("mf-full", "autorec-items"))
    shutil.rmtree(tmp_path / "data" / "ratings" / "test")
    done = blend(models, dataset.folder.url, str(tmp_path / "blend"), goal="ratings")
    assert done.fitted.judged_by is not None
    assert done.fitted.judged_by.startswith("withheld train ratings of ")
    assert 0.5 < sum(done.fitted.weights) < 1.5
    assert blend(models, dataset.folder.url, str(tmp_path / "lists")).fitted.blend


def test_the_same_models_make_the_same_blend(made, tmp_path):
    dataset, models = made
    for name in ("one", "other"):
        blend(models, dataset.folder.url, str(tmp_path / name))
    one, other = (ModelFolder.open(str(tmp_path / name), verify=True).manifest for name in ("one", "other"))
    assert one == other


REFUSED = {
    "one model": (lambda models: {"models": models[:1]}, "two models or more"),
    "the same twice": (lambda models: {"models": [models[0], models[0]]}, "is the same model as"),
    "no such goal": (lambda _: {"goal": "fun"}, "--for fun: a blend is for lists or ratings"),
    "a weight too few": (lambda _: {"weights": [1.0]}, "1 weights for 3 models"),
    "a weight that is no number": (
        lambda _: {"weights": [1.0, math.nan, 1.0]},
        "use finite numbers, not all 0",
    ),
    "no weight": (lambda _: {"weights": [0.0, 0.0, 0.0]}, "use finite numbers, not all 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_blended_is_refused_in_one_line(made, tmp_path, case):
    dataset, models = made
    change, message = REFUSED[case]
    call = {"models": models, "dataset_url": dataset.folder.url, "output": str(tmp_path / "blend")}
    with pytest.raises(RecsysDistError, match=message) as refused:
        blend(**{**call, **change(models)})
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "blend").exists()


def test_models_of_another_dataset_are_refused(made, tmp_path):
    _, models = made
    other = small_dataset(tmp_path / "other")
    with pytest.raises(ConfigError, match=r"another dataset, or another split than .*other"):
        blend(models, other.folder.url, str(tmp_path / "blend"))


def test_a_blend_is_no_part_of_a_blend_and_a_name_is_not_taken_twice(made, tmp_path):
    dataset, models = made
    blend(models[:2], dataset.folder.url, str(tmp_path / "blend"), weights=[1.0, 2.0])
    with pytest.raises(ConfigError, match="is a blend itself"):
        blend([str(tmp_path / "blend"), models[2]], dataset.folder.url, str(tmp_path / "next"))
    with pytest.raises(CheckpointError, match="exists already"):
        blend(models[:2], dataset.folder.url, str(tmp_path / "blend"))


def test_a_blend_cannot_be_trained(made, tmp_path):
    dataset, _ = made
    config = config_of("mf-full", dataset.folder.url, tmp_path / "run")
    tree = {**config.model_dump(mode="json"), "model": {"kind": "blend"}}
    with pytest.raises(ConfigError, match="a blend is not trained"):
        train_alone(type(config).model_validate(tree))
    assert not (tmp_path / "run").exists()


def test_the_command_prints_what_each_model_is_worth(made, tmp_path, capsys):
    dataset, models = made
    with pytest.raises(SystemExit) as end:
        main(["blend", *models, "--dataset", dataset.folder.url, "--output", str(tmp_path / "blend")])
    assert not end.value.code
    printed = capsys.readouterr().out
    assert all(model in printed for model in models)
    assert "nDCG@10 on validation ratings of" in printed
    assert f"wrote {tmp_path / 'blend'}" in printed


def test_models_and_datasets_blend_from_python(made, tmp_path):
    dataset, models = made
    model = recsys_dist.blend([load_model(models[0]), models[1]], dataset, str(tmp_path / "blend"), "ratings")
    assert model.manifest.kind == "blend"
    assert model.fold_in(["i1"], [5.0]).recommend(3).item_ids
