"""Merging: what the model folder predicts is what the checkpoint says, and nothing half-written is left behind."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recsys_dist.api.model import load_model
from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import CheckpointError, DataError
from recsys_dist.families.mf.serving import export
from recsys_dist.merging import merge
from recsys_dist.model_folder import tables
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.tables import Table, TableWriter
from recsys_dist.storage.folder import Folder
from tests.support.merged import PRECISION_DOF, autorec_run, mf_run, train_matrix, write_merged
from tests.support.prepared import small_dataset
from tests.support.states import SavedRun


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("merge") / "dataset", num_users=40, num_items=25, num_ratings=300)


def all_pairs(num_users: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(num_users), num_items), np.tile(np.arange(num_items), num_users)


def predictions(path: Path) -> np.ndarray:
    model = load_model(str(path), verify=True)
    shape = (model.manifest.num_users, model.manifest.num_items)
    return model.predict_indices(*all_pairs(*shape)).reshape(shape)


@pytest.mark.parametrize("factors", [0, 3])
def test_merged_mf_predicts_what_the_checkpoint_says(tmp_path, dataset, factors):
    run = mf_run(dataset, factors)

    write_merged(run, dataset, tmp_path / "model")

    users, items = (run.tables[side]["mean"].double().numpy() for side in ("users", "items"))
    expected = run.values["mu"] + users[:, :-1] @ items[:, :-1].T + users[:, -1:] + items[:, -1]
    warm = np.ix_(dataset.num_train("users") > 0, dataset.num_train("items") > 0)
    clipped = np.clip(expected, dataset.manifest.rating.min, dataset.manifest.rating.max)
    np.testing.assert_allclose(predictions(tmp_path / "model")[warm], clipped[warm], atol=1e-5)


@pytest.mark.parametrize("posterior", ["full", "diagonal", "point"])
def test_all_that_the_checkpoint_knows_is_in_the_model(tmp_path, dataset, monkeypatch, posterior):
    monkeypatch.setattr(export, "CHUNK_ROWS", 7)
    run = mf_run(dataset, posterior=posterior, noise="both", constrained="both")

    manifest = write_merged(run, dataset, tmp_path / "model")

    folder = ModelFolder.open(str(tmp_path / "model"), verify=True)
    spread = {"full": "covariance", "diagonal": "variance", "point": None}[posterior]
    for side in ("users", "items"):
        prior = np.array(run.values[f"{side[:-1]}_prior"]["covariance"], np.float32)
        unknown = {"covariance": prior[np.triu_indices(4)], "variance": prior.diagonal(), "precision": [1.0]}
        for table, column in ((f"{side[:-1]}_covariances", spread), (f"{side[:-1]}_precisions", "precision")):
            assert folder.has_table(table) == (column is not None)
            if column is not None:
                saved = run.tables[side][column].numpy()
                last = np.reshape(np.asarray(unknown[column]), (1, *saved.shape[1:]))
                assert whole(folder, table)[column].tolist() == np.concatenate([saved, last]).tolist()
        assert torch.equal(whole(folder, f"{side[:-1]}_constraints")["constraint"], run.tables[side]["constraint"])
    assert manifest.facts["user_precision_dof"] == PRECISION_DOF["users"]
    assert manifest.facts["item_precision_dof"] == PRECISION_DOF["items"]


def whole(folder: ModelFolder, table: str) -> dict[str, torch.Tensor]:
    chunks = [chunk for _, chunk in folder.table(table).chunks()]
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def dense_autorec(run: SavedRun, ratings: np.ndarray) -> np.ndarray:
    """families/autorec/network/network.py over dense rows [R, C]."""
    columns = {name: tensor.double().numpy() for name, tensor in run.tables["columns"].items()}
    left = ratings - run.values["mean"] - columns["column_bias"]
    row_bias = np.nansum(left, 1) / ((~np.isnan(left)).sum(1) + run.values["row_shrinkage"])
    by_mean = run.config["model"].get("centring") == "mean"
    centred = ratings - run.values["mean"] if by_mean else left - row_bias[:, None]
    inputs = np.nan_to_num(centred / run.values["scale"] + run.values["implicit_input"])
    length = (~np.isnan(ratings)).sum(1, keepdims=True).clip(1)
    inputs *= (run.values["mean_length"] / length) ** run.values["length_normalization"]
    hidden = 1 / (1 + np.exp(-(inputs @ columns["encoder"] + run.tables["hidden"]["bias"].double().numpy())))
    score = hidden @ columns["decoder"].T + columns["output_bias"]
    return run.values["mean"] + row_bias[:, None] + run.values["scale"] * score


@pytest.mark.parametrize(
    "settings", [{}, {"centring": "mean"}, {"implicit_input": 1.5, "length_normalization": 0.5}]
)
@pytest.mark.parametrize("orientation", ["items", "users"])
def test_merged_autorec_predicts_what_the_autoencoder_puts_out(tmp_path, dataset, orientation, settings):
    run = autorec_run(dataset, orientation, **settings)
    values = {**run.values, "length_normalization": settings.get("length_normalization", 0.0), "mean_length": 4.0}
    run = replace(run, values=values)

    write_merged(run, dataset, tmp_path / "model")

    ratings = train_matrix(dataset)
    expected = dense_autorec(run, ratings) if orientation == "users" else dense_autorec(run, ratings.T).T
    clipped = np.clip(expected, dataset.manifest.rating.min, dataset.manifest.rating.max)
    warm = np.ix_(dataset.num_train("users") > 0, dataset.num_train("items") > 0)
    np.testing.assert_allclose(predictions(tmp_path / "model")[warm], clipped[warm], atol=1e-5)


def save_run(run: SavedRun, run_dir: Path) -> None:
    state = TrainerState(
        {name: TableRows(0, len(next(iter(table.values()))), table) for name, table in run.tables.items()},
        run.values,
    )
    store = CheckpointStore(Folder(str(run_dir)), Collectives(World.single()), keep=2)
    store.save(state, run.step, {"config": run.config, **run.details})


def test_a_saved_run_merges_from_its_folder(tmp_path, dataset):
    run = mf_run(dataset)
    save_run(run, tmp_path / "run")

    manifest = merge(str(tmp_path / "run"), str(tmp_path / "model"), step=3)

    assert (manifest.kind, manifest.step, manifest.provenance.dataset_digest) == ("mf", 3, dataset.digest)
    assert manifest.provenance.split_fingerprint == dataset.manifest.split.fingerprint
    assert manifest == write_merged(run, dataset, tmp_path / "other")
    # The model folder is enough: neither the run nor the dataset is asked again.
    shutil.rmtree(tmp_path / "run")
    assert ModelFolder.open(str(tmp_path / "model"), verify=True).titles.to_pylist()[1] == "Film 1"
    with pytest.raises(CheckpointError, match="exists already"):
        merge(str(tmp_path / "run"), str(tmp_path / "model"))


def test_a_dataset_that_has_moved_can_be_named(tmp_path):
    dataset = small_dataset(tmp_path / "old", num_users=40, num_items=25, num_ratings=300)
    save_run(mf_run(dataset), tmp_path / "run")
    (tmp_path / "old").rename(tmp_path / "new")

    with pytest.raises(DataError, match=r"the run names it as '.*old': if it has moved, give --dataset"):
        merge(str(tmp_path / "run"), str(tmp_path / "model"))
    with pytest.raises(
        DataError, match=r"there is no folder .*nowhere; give a folder that `recsys-dist prepare` wrote$"
    ):
        merge(str(tmp_path / "run"), str(tmp_path / "model"), dataset_url=str(tmp_path / "nowhere"))

    assert merge(str(tmp_path / "run"), str(tmp_path / "model"), dataset_url=str(tmp_path / "new")).kind == "mf"


def test_nothing_is_left_of_a_merge_that_fails(tmp_path, dataset):
    run = mf_run(dataset)
    run.tables["items"]["mean"][7, 1] = torch.nan

    with pytest.raises(CheckpointError, match="vector of row 7 of items is not a finite number"):
        write_merged(run, dataset, tmp_path / "models" / "model")

    assert list((tmp_path / "models").iterdir()) == []


def test_a_model_behind_a_url_is_complete_or_not_there(dataset):
    manifest = write_merged(mf_run(dataset), dataset, "memory://merged/good")
    assert ModelFolder.open("memory://merged/good", verify=True).manifest == manifest
    broken = mf_run(dataset)
    broken.tables["items"]["mean"][7, 1] = torch.nan

    with pytest.raises(CheckpointError, match="not a finite number"):
        write_merged(broken, dataset, "memory://merged/bad")
    with pytest.raises(CheckpointError, match="exists already"):
        write_merged(broken, dataset, "memory://merged/good")

    assert Folder("memory://merged").names() == ["good"]


@pytest.mark.parametrize(("kind", "side"), [("mf", "users"), ("items", "items"), ("users", "users")])
def test_damaged_ratings_are_not_merged_into_a_model(tmp_path, kind, side):
    dataset = small_dataset(tmp_path / "dataset", num_users=40, num_items=25, num_ratings=300)
    block = tmp_path / "dataset" / "blocks" / side / "00001.safetensors"
    block.write_bytes(block.read_bytes()[:-1] + b"\x7f")

    with pytest.raises(DataError, match=rf"blocks/{side}/00001\.safetensors is damaged: its sha256"):
        write_merged(mf_run(dataset) if kind == "mf" else autorec_run(dataset, kind), dataset, tmp_path / "model")

    assert not (tmp_path / "model").exists()


def test_another_dataset_is_refused(tmp_path, dataset):
    run = dataclasses.replace(mf_run(dataset), details={"dataset_digest": "0" * 64})

    with pytest.raises(CheckpointError, match="not the dataset that the run was trained on"):
        write_merged(run, dataset, tmp_path / "model")


@pytest.mark.parametrize("pieces", [(10,), (1, 9), (4, 4, 2), (3, 0, 7)])
def test_chunks_do_not_depend_on_the_pieces_written(tmp_path, monkeypatch, pieces):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 4)
    rows = torch.arange(20, dtype=torch.float32).reshape(10, 2)
    writer = TableWriter(Folder(str(tmp_path)), "users")

    for piece in rows.split(list(pieces)):
        writer.append({"vector": piece, "bias": piece[:, 0].contiguous()})
    records = writer.close()

    assert [record.rows for record in records] == [4, 4, 2]
    table = Table(Folder(str(tmp_path)), "users", tuple(records))
    wanted = torch.tensor([9, 0, 4, 3, 4])
    torch.testing.assert_close(table.take(wanted)["vector"], rows[wanted], rtol=0, atol=0)


def test_model_json_tells_what_the_model_is(tmp_path, dataset):
    write_merged(autorec_run(dataset, "users"), dataset, tmp_path / "model")

    told = json.loads((tmp_path / "model" / "model.json").read_text())

    assert told["format_version"] == 2
    assert told["facts"]["fold_in"]["kind"] == "encode"
    assert told["config"]["model"]["orientation"] == "users"
    on_disk = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*.*")}
    assert {file["name"] for file in told["files"]} | {"model.json"} == on_disk


def test_long_rows_make_small_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_BYTES", 4 * 3 * 20)
    folder, rows = Folder(str(tmp_path)), torch.arange(10 * 20, dtype=torch.float32).reshape(10, 20)
    writer = TableWriter(folder, "items")
    for start, stop in ((0, 2), (2, 9), (9, 10)):
        writer.append({"weight": rows[start:stop]})
    records = writer.close()
    assert [record.rows for record in records] == [3, 3, 3, 1]
    table = Table(folder, "items", tuple(records))
    assert torch.equal(torch.cat([chunk["weight"] for _, chunk in table.chunks()]), rows)
