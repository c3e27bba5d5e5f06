"""The merged model does not depend on how many ranks trained: tables cut for 1 and 3 ranks, both model kinds."""

from __future__ import annotations

from pathlib import Path

from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.merging import merge
from recsys_dist.storage.folder import Folder
from tests.support.merged import autorec_run, mf_run
from tests.support.prepared import small_dataset
from tests.support.ranks import run_ranks
from tests.support.states import SavedRun

KINDS = ("mf", "users")


def saved_run(kind: str, dataset: Dataset) -> SavedRun:
    return mf_run(dataset) if kind == "mf" else autorec_run(dataset, kind)


def save(collectives: Collectives, dataset_url: str, folder: str) -> None:
    """Save a run of each kind, this rank's part of it."""
    world = collectives.world
    for kind in KINDS:
        run, tables = saved_run(kind, Dataset.open(dataset_url)), {}
        for name, tensors in run.tables.items():
            num_rows = len(next(iter(tensors.values())))
            start, stop = num_rows * world.rank // world.size, num_rows * (world.rank + 1) // world.size
            rows = {key: tensor[start:stop] for key, tensor in tensors.items()}
            tables[name] = TableRows(start, num_rows, rows)
        store = CheckpointStore(Folder(f"{folder}/{kind}"), collectives, keep=1)
        store.save(TrainerState(tables, run.values), run.step, {"config": run.config, **run.details})


def test_one_and_three_ranks_merge_into_the_same_bytes(tmp_path: Path):
    dataset = small_dataset(tmp_path / "dataset", num_users=40, num_items=25, num_ratings=300)
    save(Collectives(World.single()), dataset.folder.url, str(tmp_path / "one"))
    run_ranks(save, 3, tmp_path, dataset.folder.url, str(tmp_path / "three"))

    for kind in KINDS:
        models = [
            merge(str(tmp_path / ranks / kind), str(tmp_path / f"{ranks}-{kind}")) for ranks in ("one", "three")
        ]

        assert models[0].contents_digest == models[1].contents_digest
        told = [(tmp_path / f"{ranks}-{kind}" / "model.json").read_bytes() for ranks in ("one", "three")]
        assert told[0] == told[1]
    files = {ranks: len(list((tmp_path / ranks).rglob("users-*.safetensors"))) for ranks in ("one", "three")}
    assert files == {"one": 1, "three": 3}
