"""Similar items and users against shrunk cosines by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys_dist import load_model
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.similar import nearest
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import write_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """User 2 and item 4 have no train rating."""
    user, item = np.divmod(np.arange(60), 10)
    split = np.where((user == 2) | (item == 4), 2, 0)
    return write_dataset(tmp_path_factory.mktemp("data") / "dataset", user, item, 1.0 + (user * item) % 5, split)


@pytest.fixture(scope="module", params=["mf", "items"])
def model(request, tmp_path_factory, dataset):
    path = tmp_path_factory.mktemp("models") / "model"
    write_merged(mf_run(dataset) if request.param == "mf" else autorec_run(dataset, request.param), dataset, path)
    return load_model(str(path))


@pytest.mark.parametrize("side", ["user", "item"])
def test_the_most_similar_have_the_highest_shrunk_cosine(model, side):
    chunks = model.folder.table(f"{side}s").chunks()
    vectors = np.concatenate([chunk["vector"].double().numpy() for _, chunk in chunks])
    vectors = vectors[:-1] - vectors[-1] if model.manifest.kind == "autorec" else vectors[:-1]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-30)
    num_train = model.folder.num_train(f"{side}s")
    expected = unit @ unit[3] * num_train / (num_train + 20)
    wanted = [row for row in np.argsort(-expected, kind="stable") if row not in {3, 2 if side == "user" else 4}]

    similar = model.similar_users("u3", 3) if side == "user" else model.similar_items("i3", 3)

    assert similar.ids == [f"{side[0]}{row}" for row in wanted[:3]]
    assert similar.titles == (
        [None] * 3 if side == "user" else [f"Film {row}" if row else None for row in wanted[:3]]
    )
    np.testing.assert_allclose(similar.similarities, expected[wanted[:3]], atol=1e-6)
    everything = model.similar_users("u3", 99) if side == "user" else model.similar_items("i3", 99)
    assert everything.ids == [f"{side[0]}{row}" for row in wanted]


def test_what_nothing_is_known_of_is_like_nothing(model):
    with pytest.raises(DataError, match="unknown item 'x'"):
        model.similar_items("x")
    with pytest.raises(DataError, match="unknown user '99'"):
        model.similar_users(99)
    with pytest.raises(DataError, match="item 'i4' has no train rating"):
        model.similar_items("i4")
    with pytest.raises(ConfigError, match="a list of 0"):
        model.similar_items("i3", 0)


def test_without_factors_nothing_is_similar(tmp_path, dataset):
    write_merged(mf_run(dataset, factors=0), dataset, tmp_path / "model")

    with pytest.raises(ConfigError, match="has no factors by which one item could be compared with another"):
        load_model(str(tmp_path / "model")).similar_items("i3", 2)


def test_one_rating_is_no_evidence_of_likeness():
    """Of two rows with nearly the same direction, the one with many ratings comes first."""
    vectors = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.9, 0.3], [-1.0, 0.0], [1.0, 0.0]])
    rows, similarities = nearest(vectors, np.array([50, 1, 80, 9, 0]), row=0, n=5)
    assert rows.tolist() == [2, 1, 3]
    np.testing.assert_allclose(similarities, [0.8 * 0.9 / 0.9**0.5, 1 / 21, -9 / 29], rtol=1e-6)
