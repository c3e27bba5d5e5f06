"""One contract for all families of models: what holds for one holds for each."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_dist.api.model import Model, load_model
from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, committed_names, find_checkpoint
from recsys_dist.checkpoint.compare import content_digests
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError
from recsys_dist.inference.folded_user import FoldedUser
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.storage.folder import Folder
from recsys_dist.training.loop import Outcome
from recsys_dist.training.parity import require_parity, verify_parity
from tests.families.cases import MODELS, config_of, merged, train_alone
from tests.support.prepared import small_dataset

families = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("dataset") / "small")


@pytest.fixture(scope="module")
def trained(dataset, tmp_path_factory):
    """Of each family, trained and merged once: its configuration, and its model folder."""
    made = {}

    def make(name: str):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            config = config_of(name, dataset.folder.url, folder / "run")
            assert train_alone(config) in {Outcome.FINISHED, Outcome.CONVERGED}
            made[name] = (config, merged(config, folder / "model"))
        return made[name]

    return make


def digests_of(run_dir: Path | str) -> dict[str, str]:
    folder = Folder(str(run_dir))
    last = committed_names(folder.child(CHECKPOINTS))[-1].step
    return content_digests(find_checkpoint(folder, last))


def predicted(model: Model, users: str | list[str], items: list[str]) -> np.ndarray:
    """Predicted ratings, or the scores of a model that ranks."""
    user_N = model.user_ids.find([users] * len(items) if isinstance(users, str) else users)
    return model.predictor.ratings(*model.predictor.by_index(user_N, model.item_ids.find(items)))


def of_folded(folded: FoldedUser) -> np.ndarray:
    """Predicted ratings of all items, or scores, for a user who is folded in."""
    item_I = np.arange(folded.predictor.catalog.num_items)
    return folded.predictor.ratings(folded.users, np.zeros_like(item_I), item_I)


def ndcg_of_chance(dataset: Dataset) -> float:
    """Expected nDCG of lists in any order: the share of the unseen items that are relevant, over users."""
    held_out = [dataset.ratings("valid", shard) for shard in range(len(dataset.shards("users")))]
    liked = [part.user_index[part.rating >= dataset.manifest.rating.mean] for part in held_out]
    users, count_U = np.unique(np.concatenate(liked), return_counts=True)
    return float(np.mean(count_U / (dataset.num_items - dataset.num_train("users")[users])))


def predicts_ratings(model: Model) -> bool:
    return model.predictor.scorer.predicts_ratings


@families
@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_resumed_training_is_the_unbroken_one(trained, dataset, tmp_path, name, stop_after):
    config, _ = trained(name)
    broken = config_of(name, dataset.folder.url, tmp_path / "run")
    assert train_alone(broken, stop_after) is Outcome.PREEMPTED
    assert train_alone(broken) is not Outcome.PREEMPTED
    assert digests_of(broken.run_dir) == digests_of(config.run_dir)


@families
@pytest.mark.slow
def test_ranks_agree_within_the_tolerance_of_the_family(dataset, tmp_path, name):
    config = config_of(name, dataset.folder.url, tmp_path / "run")
    runs = verify_parity(config, (1, 2), epochs=2)
    require_parity(runs, config.family.parity_tolerance, config.family)


@families
def test_a_model_is_the_same_wherever_it_is_merged_and_loaded(trained, tmp_path, name):
    config, path = trained(name)
    again = merged(config, tmp_path / "again")
    digests = {ModelFolder.open(url, verify=True).manifest.contents_digest for url in (path, again)}
    assert len(digests) == 1
    pairs = ["u1", "u2", "u3"], ["i1", "i2", "i3"]
    assert predicted(load_model(path), *pairs).tobytes() == predicted(load_model(again), *pairs).tobytes()


@families
def test_the_unknown_are_predicted_and_nothing_is_out_of_range(trained, name):
    model = load_model(trained(name)[1])
    of_u1, of_nobody = (predicted(model, user, ["i1", "nothing", "none"]) for user in ("u1", "nobody"))
    assert np.isfinite([of_u1, of_nobody]).all()
    assert of_nobody[1] == of_nobody[2]
    assert len(set(of_nobody[:2])) == 2, "the unknown user has preferences"
    if not model.predictor.scorer.predicts_ratings:
        with pytest.raises(ConfigError, match="ranks items and predicts no ratings"):
            model.predict("u1", "i1")
        return
    users, items = ["u1", "nobody", "nobody"], ["nothing", "i1", "nothing"]
    rating = predicted(model, users, items)
    assert np.isfinite(rating).all()
    if predicts_ratings(model):
        assert ((rating >= model.manifest.rating.min) & (rating <= model.manifest.rating.max)).all()
    assert predicted(model, "nobody", ["i1"])[0] == rating[1]
    assert len(set(predicted(model, "nobody", ["nothing", "none"]).tolist())) == 1


@families
def test_ratings_are_predicted_or_refused(trained, name):
    model = load_model(trained(name)[1])
    if predicts_ratings(model):
        assert model.predict("u1", "i1").shape == (1,)
        return
    with pytest.raises(ConfigError, match=r"ranks items and predicts no ratings"):
        model.predict("u1", "i1")


@families
def test_the_model_has_learnt(trained, dataset, name):
    model = load_model(trained(name)[1])
    report = model.evaluate(dataset, "valid")
    if not predicts_ratings(model):
        assert report.ranking.at(10).ndcg > 1.5 * ndcg_of_chance(dataset)
        return
    baseline = report.baselines["global_mean"].rmse
    assert report.rmse is not None
    assert baseline is not None
    assert report.rmse < baseline


@families
def test_scores_order_items_as_their_ratings_do(trained, name):
    model = load_model(trained(name)[1])
    predictor, num_items = model.predictor, len(model.item_ids)
    users = predictor.known(np.array([0, 5, len(model.user_ids)]))
    score_BI = predictor.scorer.scores(users).double().numpy()
    for row in range(3):
        pairs = users, np.full(num_items, row), np.arange(num_items)
        rating_I = predictor.ratings(*pairs, clip=False).astype(np.float64)
        ordered = rating_I[np.argsort(score_BI[row], kind="stable")]
        assert (np.diff(ordered) >= -1e-5).all(), "a higher score is no lower rating, but for rounding"


@families
def test_lists_leave_out_what_was_seen_and_hold_the_best(trained, dataset, name):
    model = load_model(trained(name)[1])
    train = dataset.ratings("train", 0)
    user = int(train.user_index[0])
    seen = {model.item_ids.take(np.array([item]))[0] for item in train.item_index[train.user_index == user]}
    raw_id = model.user_ids.take(np.array([user]))[0]
    (listed,) = model.recommend(raw_id, 5)
    assert len(listed.item_ids) == 5
    assert not seen & set(listed.item_ids)
    unseen = [item for item in model.item_ids.array.to_pylist() if item not in seen]
    best = np.sort(predicted(model, raw_id, unseen))[::-1][:5]
    np.testing.assert_allclose(np.sort(listed.scores)[::-1], best, atol=1e-5)


@families
def test_a_folded_in_user_is_like_the_known_one_with_these_ratings(trained, dataset, name):
    model = load_model(trained(name)[1])
    train = dataset.ratings("train", 0)
    user = int(np.bincount(train.user_index).argmax())
    mine = train.user_index == user
    items = model.item_ids.take(train.item_index[mine].astype(np.int64))
    folded = model.fold_in(items, train.rating[mine])
    every = model.item_ids.array.to_pylist()
    as_known = predicted(model, model.user_ids.take(np.array([user]))[0], every)
    as_nobody = predicted(model, "nobody", every)
    found = of_folded(folded)
    rmse = lambda other: math.sqrt(float(np.square(found - other).mean()))  # noqa: E731
    assert rmse(as_known) < 0.6 * rmse(as_nobody) + 0.05
    assert folded.recommend(5, include_seen=False).item_ids
    assert not set(items) & set(folded.recommend(5).item_ids)


@families
def test_a_user_without_ratings_is_the_unknown_one(trained, name):
    model = load_model(trained(name)[1])
    every = model.item_ids.array.to_pylist()
    found = of_folded(model.fold_in([], []))
    np.testing.assert_allclose(found, predicted(model, "nobody", every), atol=1e-5)


@families
def test_similar_items_are_others_and_in_order(trained, name):
    model = load_model(trained(name)[1])
    if model.predictor.scorer.vectors("items") is None:
        with pytest.raises(ConfigError, match="no factors"):
            model.similar_items("i1", 5)
        return
    similar = model.similar_items("i1", 5)
    assert "i1" not in similar.ids
    assert (np.diff(similar.similarities) <= 0).all()


@families
def test_uncertainty_is_there_or_said_to_be_missing(trained, name):
    model = load_model(trained(name)[1])
    if model.knows_uncertainty:
        rating, std = model.predict(["u1", "nobody"], ["i1", "nothing"], return_std=True)
        assert (std > 0).all()
        low, high = model.predict_interval(["u1", "nobody"], ["i1", "nothing"])
        assert ((low <= rating) & (rating <= high)).all()
        assert model.recommend("u1", 3, rank_by="thompson")[0].item_ids
        return
    with pytest.raises(ConfigError, match="has no uncertainty"):
        model.recommend("u1", 3, rank_by="thompson")


@families
def test_a_folder_of_another_family_is_refused_in_one_line(trained, tmp_path, name):
    path = Path(trained(name)[1])
    manifest = json.loads((path / "model.json").read_text())
    folder = tmp_path / "model"
    folder.mkdir()
    for below in path.iterdir():
        if below.name != "model.json":
            (folder / below.name).symlink_to(below)
    (folder / "model.json").write_text(json.dumps({**manifest, "kind": "os:system"}))
    with pytest.raises(
        ConfigError, match=r"of the family 'os:system', which is not installed; give --family"
    ) as told:
        load_model(str(folder))
    assert "\n" not in str(told.value)


@families
def test_no_tensor_is_made_off_its_device(trained, name):
    _, path = trained(name)
    torch.set_default_device("meta")
    try:
        model = load_model(path)
        assert predicted(model, ["u1"], ["i1"]).shape == (1,)
        assert len(model.recommend("u1", 3)[0].item_ids) == 3
        assert len(model.fold_in(["i1"], [4]).recommend(3).item_ids) == 3
        if model.predictor.scorer.vectors("items") is not None:
            assert len(model.similar_items("i1", 3).ids) == 3
    finally:
        torch.set_default_device(None)


@families
def test_no_tensor_of_a_training_is_made_off_its_device(dataset, tmp_path, name):
    config = config_of(name, dataset.folder.url, tmp_path / "run", epochs=1)
    torch.set_default_device("meta")
    try:
        assert train_alone(config) in {Outcome.FINISHED, Outcome.CONVERGED}
        merged(config, tmp_path / "model")
    finally:
        torch.set_default_device(None)
