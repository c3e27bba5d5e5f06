"""New users of an AutoRec from ratings alone, against what training makes of the same ratings."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from recsys_dist import load_model
from tests.support.merged import autorec_run, rated_by, train_matrix, write_merged
from tests.support.prepared import small_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset")


@pytest.fixture(scope="module")
def ratings(dataset):
    return train_matrix(dataset)


def test_user_autorec_folds_in_as_it_encodes(tmp_path, dataset, ratings):
    write_merged(autorec_run(dataset, "users"), dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    items, given = rated_by(ratings, 17)
    folded = model.fold_in(items, given)

    everything = [f"i{item}" for item in range(dataset.num_items)]
    np.testing.assert_allclose(folded.predict(everything), model.predict("u17", everything), atol=1e-5)


def test_a_new_user_of_few_ratings_is_drawn_to_the_average_and_a_known_one_is_not(tmp_path, dataset):
    write_merged(autorec_run(dataset, "users"), dataset, tmp_path / "model")
    told = json.loads((tmp_path / "model/model.json").read_text())
    num_train = dataset.num_train("users")
    assert told["facts"]["fold_in"]["short_length"] == np.quantile(num_train[num_train > 0], 0.05)
    told["facts"]["fold_in"] |= {"short_length": 8.0, "short_pull": 8.0}
    (tmp_path / "model/model.json").write_text(json.dumps(told))
    model = load_model(str(tmp_path / "model"))
    few = ["i3", "i9", "i4"], [5.0, 1.0, 2.5]
    told["facts"]["fold_in"] |= {"short_length": 0.0}
    (tmp_path / "model/model.json").write_text(json.dumps(told))
    as_encoded = load_model(str(tmp_path / "model")).fold_in(*few).users

    user = model.fold_in(*few).users

    share = 3 / (3 + 8) * (8 + 8) / 8
    unknown = model.predictor.known(np.array([dataset.num_users]))
    expected = share * as_encoded.vector_BK + (1 - share) * unknown.vector_BK
    torch.testing.assert_close(user.vector_BK, expected)
    torch.testing.assert_close(user.bias_B, share * as_encoded.bias_B + (1 - share) * unknown.bias_B)
    everything = [f"i{item}" for item in range(dataset.num_items)]
    for known in np.argsort(num_train + 1000 * (num_train == 0))[:3]:
        folded = model.fold_in([], [], user_id=f"u{known}")
        np.testing.assert_allclose(folded.predict(everything), model.predict(f"u{known}", everything), atol=1e-5)


def test_item_autorec_folds_in_by_ridge_around_the_average_user(tmp_path, dataset, ratings):
    run = autorec_run(dataset, "items", regularization=3.0)
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    items, given = rated_by(ratings, 17)
    index = [int(item[1:]) for item in items]
    rows = model.folder.table("items").take(torch.tensor(index))
    hidden = np.pad(rows["vector"].double().numpy(), ((0, 0), (0, 1)), constant_values=1)
    unknown = model.predictor.known(np.array([dataset.num_users]))
    average = np.append(unknown.vector_BK.numpy(), unknown.bias_B.numpy())
    target = given - model.manifest.facts["offset"] - rows["bias"].numpy()

    def loss(parameters: np.ndarray) -> float:
        penalty = np.array([1.5, 1.5, 1.5, 1.5, run.values["column_shrinkage"]])
        return ((target - hidden @ parameters) ** 2).sum() + (penalty * (parameters - average) ** 2).sum()

    user = model.fold_in(items, given).users

    found = np.append(user.vector_BK.numpy(), user.bias_B.numpy()).astype(np.float64)
    for step in np.concatenate([np.eye(5), -np.eye(5)]) * 1e-3:
        assert loss(found + step) > loss(found)
