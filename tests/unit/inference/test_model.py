"""A loaded model: raw ids in and out, unknown ones too, uncertainty, and what it refuses to load."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pytest

from recsys_dist import load_model
from recsys_dist.errors import CheckpointError, ConfigError, DataError
from recsys_dist.inference.ids import IdIndex
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset, write_dataset
from tests.support.states import SavedRun


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("data") / "dataset", num_users=40, num_items=25, num_ratings=300)


@pytest.fixture(scope="module")
def run(dataset) -> SavedRun:
    return mf_run(dataset)


@pytest.fixture(scope="module")
def path(tmp_path_factory, dataset, run) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    write_merged(run, dataset, folder)
    return folder


@pytest.fixture(scope="module")
def model(path):
    return load_model(str(path))


def test_ids_come_as_any_array(model):
    expected = model.predict(["u3", "u5"], ["i1", "i2"])

    assert expected.dtype == np.float32
    for users, items in [
        (np.array(["u3", "u5"]), np.array(["i1", "i2"], dtype=object)),
        (pa.array(["u3", "u5"]), pa.chunked_array([["i1"], ["i2"]])),
        (pa.array(["u3", "u5"], pa.large_string()), pa.chunked_array([["i1"], ["i2"]]).dictionary_encode()),
    ]:
        np.testing.assert_array_equal(model.predict(users, items), expected)
    assert model.predict("u3", "i1") == expected[:1]
    np.testing.assert_array_equal(model.predict("u3", ["i1", "i2"])[:1], expected[:1])
    assert len(model.predict([], [])) == 0


def test_whole_numbers_are_ids_and_fractions_are_not(model):
    assert model.item_ids.find([2**63, 7]).tolist() == [25, 25]
    assert IdIndex(pa.array(["", "12", "7"])).find([7, 7, 12, 3]).tolist() == [2, 2, 1, 3]
    assert IdIndex(pa.array(["12", "7"])).find([7, "7", np.int64(12), np.str_("12")]).tolist() == [1, 1, 0, 0]
    single = [[1.0], [True], [b"u1"], [1j], [["u1"]], [["u1"], ["u1", "u2"]]]
    for wrong in (*single, ["u1", 1.0], ["u1", True], [1, True], ["u1", float("nan")], (1, 2.0)):
        with pytest.raises(DataError, match="ids must be"):
            model.predict(wrong, "i1")
    with pytest.raises(DataError, match="differ in length: 2 user_ids, 3 item_ids"):
        model.predict(["u1", "u2"], ["i1", "i2", "i3"])


def test_the_unknown_are_predicted_from_the_prior(model, run):
    prior_user, prior_item = (np.array(run.values[f"{side}_prior"]["mean"]) for side in ("user", "item"))
    item, user = run.tables["items"]["mean"][4].numpy(), run.tables["users"]["mean"][6].numpy()

    predicted = model.predict(["new", "u6", "new"], ["i4", "new", "new"])

    expected = [prior_user[:3] @ item[:3] + prior_user[3] + item[3]]
    expected += [user[:3] @ prior_item[:3] + user[3] + prior_item[3]]
    expected += [prior_user[:3] @ prior_item[:3] + prior_user[3] + prior_item[3]]
    np.testing.assert_allclose(predicted, np.clip(run.values["mu"] + np.array(expected), 1, 5), atol=1e-5)


@pytest.mark.parametrize("kind", ["mf", "items", "users"])
def test_a_known_user_or_item_without_train_ratings_is_as_good_as_unknown(tmp_path, kind):
    user, item = np.divmod(np.arange(30), 6)
    split = np.where((user == 2) | (item == 4), 2, 0)
    dataset = write_dataset(tmp_path / "dataset", user, item, 1.0 + (user * item) % 5, split, num_shards=2)
    run = mf_run(dataset) if kind == "mf" else autorec_run(dataset, kind)
    write_merged(run, dataset, tmp_path / "model")
    model = load_model(str(tmp_path / "model"))

    cold_user, unknown_user = model.predict("u2", ["i0", "i1", "i4"]), model.predict("new", ["i0", "i1", "new"])
    cold_item, unknown_item = model.predict(["u0", "u1"], "i4"), model.predict(["u0", "u1"], "new")

    np.testing.assert_array_equal(cold_user, unknown_user)
    np.testing.assert_array_equal(cold_item, unknown_item)
    assert np.isfinite(cold_user).all()
    if kind == "mf":
        pairs = [("u2", "i0"), ("new", "i0"), ("u0", "i4"), ("u0", "new")]
        users, items = zip(*pairs, strict=True)
        _, std = model.predict(users, items, return_std=True)
        np.testing.assert_array_equal(std[[0, 2]], std[[1, 3]])
    assert len(set(unknown_user.tolist())) > 1, "an unknown user still tells the items apart"


def test_one_flipped_bit_is_found_and_its_file_named(tmp_path, dataset):
    write_merged(autorec_run(dataset, "users"), dataset, tmp_path / "model")
    files = [path for path in sorted((tmp_path / "model").rglob("*")) if path.is_file()]
    assert len(files) > 8
    for path in files:
        if path.name == "model.json":
            continue
        intact = path.read_bytes()
        path.write_bytes(intact[:-3] + bytes([intact[-3] ^ 1]) + intact[-2:])
        with pytest.raises(CheckpointError, match=f"{path.name} is damaged"):
            load_model(str(tmp_path / "model"), verify=True)
        path.write_bytes(intact)
    load_model(str(tmp_path / "model"), verify=True)


@pytest.mark.parametrize("name", ["users.parquet", "items.parquet"])
def test_a_wrong_id_or_title_is_found_without_verify_too(tmp_path, dataset, run, name):
    write_merged(run, dataset, tmp_path / "model")
    table = tmp_path / "model" / name
    content = table.read_bytes()
    place = content.index(b"PAR1") + 60
    table.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])

    with pytest.raises(CheckpointError, match=f"{name}.* is damaged"):
        load_model(str(tmp_path / "model"))


def changed(tree: dict, **changes: object) -> dict:
    return {**tree, **changes}


EVIL = {
    "a file outside": (
        lambda tree: changed(tree, files=[changed(tree["files"][0], name="../../etc/passwd")]),
        "files.0.name: file name",
    ),
    "an absolute file": (
        lambda tree: changed(tree, files=[changed(tree["files"][0], name="/etc/passwd")]),
        "files.0.name: file name",
    ),
    "another version": (lambda tree: changed(tree, format_version=1), "format_version"),
    "another format": (lambda tree: changed(tree, format="recsys_dist.dataset"), "format"),
    "an unknown key": (lambda tree: changed(tree, loader="os.system"), "loader"),
    "a fact that is missing": (
        lambda tree: changed(tree, facts={key: tree["facts"][key] for key in tree["facts"] if key != "offset"}),
        "facts.offset: Field required",
    ),
    "a fact that is none": (
        lambda tree: changed(tree, facts=changed(tree["facts"], noise_variance=-1.0)),
        "facts.noise_variance: Input should be greater than 0",
    ),
    "too many users": (lambda tree: changed(tree, num_users=10**12), "user_shards do not cover"),
    "too many items": (lambda tree: changed(tree, num_items=10**12), "1000000000000"),
    "missing tables": (
        lambda tree: changed(tree, files=[f for f in tree["files"] if not f["name"].startswith("items/")]),
        "lists no table items",
    ),
    "other rows": (
        lambda tree: changed(
            tree, files=[changed(f, rows=3) if f["name"].startswith("users/") else f for f in tree["files"]]
        ),
        "users",
    ),
}


@pytest.mark.parametrize("what", EVIL)
def test_an_evil_model_json_is_refused(tmp_path, dataset, run, what):
    change, reason = EVIL[what]
    write_merged(run, dataset, tmp_path / "model")
    manifest = tmp_path / "model" / "model.json"
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text()))))

    with pytest.raises(CheckpointError, match=reason):
        load_model(str(tmp_path / "model"))


@pytest.mark.parametrize("text", ["", "{", "[]", "NaN", '{"format": "recsys_dist.model"}'])
def test_what_is_not_a_manifest_is_refused(tmp_path, text):
    (tmp_path / "model.json").write_text(text)

    with pytest.raises(CheckpointError, match=r"model\.json cannot be used"):
        load_model(str(tmp_path))


def test_a_truncated_table_is_an_error_without_verify_too(tmp_path, dataset, run):
    write_merged(run, dataset, tmp_path / "model")
    table = tmp_path / "model" / "items" / "00000.safetensors"
    table.write_bytes(table.read_bytes()[:-8])

    with pytest.raises(CheckpointError, match=r"items/00000\.safetensors"):
        load_model(str(tmp_path / "model"))


def test_a_folder_without_a_model_and_a_device_that_is_not_there(tmp_path, path):
    with pytest.raises(CheckpointError, match=r"holds no model\.json: it is not a model folder"):
        load_model(str(tmp_path))
    for name in ("tpu", "meta"):
        with pytest.raises(ConfigError, match=f"device '{name}' is not available"):
            load_model(str(path), device=name)


def test_a_model_behind_a_url_is_the_same(path, model):
    store = fsspec.filesystem("memory")
    store.put(str(path), "/models/m", recursive=True)

    remote = load_model("memory://models/m", verify=True)

    users, items = [f"u{n}" for n in range(40)], [f"i{n % 25}" for n in range(40)]
    for there, here in zip(remote.predict(users, items, True), model.predict(users, items, True), strict=True):
        np.testing.assert_array_equal(there, here)
    assert remote.recommend("u1", 5)[0].item_ids == model.recommend("u1", 5)[0].item_ids


def test_importing_the_package_does_not_import_torch():
    code = "import recsys_dist, sys; assert 'torch' not in sys.modules; recsys_dist.load_model"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
