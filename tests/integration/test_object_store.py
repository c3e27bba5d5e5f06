"""The whole path on an object store that refuses, slows down and breaks off: the same bytes as on a local disk."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recsys_dist
from recsys_dist.api.model import load_model
from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.cli import main
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import CheckpointError, DataError, StorageError
from recsys_dist.merging import merge
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run import run_training, train
from tests.field_cases.reading import configure, read
from tests.support.dask_processes import dask_processes
from tests.support.object_store import ObjectStore, running_store
from tests.support.prepared import low_rank_ratings, small_dataset
from tests.support.ranks import run_ranks

s3fs = pytest.importorskip("s3fs", reason="needs the extra s3")
pytest.importorskip("moto.server", reason="needs moto[server], of the extra dev")

KEY_ID, SECRET = "AKIATESTONLY0000", "never/written+anywhere"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
BUCKET = "s3://ratings"
MODEL = {"kind": "mf", "factors": 3, "constrained": "none", "noise": "shared"}


@pytest.fixture(scope="module")
def object_store() -> Iterator[ObjectStore]:
    """A running store with a bucket, and credentials where libraries look for them."""
    with running_store() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": store.url, "AWS_CONFIG_FILE": "/dev/null"}.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        store.create_bucket(BUCKET.removeprefix("s3://"))
        yield store
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def store(object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ObjectStore]:
    """The store as it works, an empty bucket and an empty cache."""
    monkeypatch.setenv("RECSYS_DIST_CACHE", str(tmp_path / "cache"))
    yield object_store
    object_store.breaking(0)
    for name in Folder(BUCKET).names():
        Folder(BUCKET).remove(name)


def settings(place: str, epochs: int = 3, **changes: object) -> TrainConfig:
    tree = {"dataset": f"{place}/data", "run_dir": f"{place}/run", "device": "cpu", "model": MODEL}
    return TrainConfig.model_validate(tree | {"training": {"epochs": epochs}} | changes)


def train_rank(collectives: Collectives, config: TrainConfig) -> str:
    return run_training(config, collectives, lambda: False).name


def prepare_in(place: str, address: str, name: str = "ratings.csv", append: bool = False) -> None:
    tree = {
        "input": {"paths": f"{place}/{name}", "columns": {"user": "u", "item": "i", "rating": "r"}},
        "split": {"kind": "random", "test": 0.15, "valid": 0.1},
        "shards": {"users": 3, "items": 2},
        "output": f"{place}/data",
        "append": append,
        "cluster": {"address": address},
    }
    prepare(PrepareConfig.model_validate(tree))


def every_byte(*folders: Path) -> bytes:
    """All there is in the bucket and in local folders, one after the other."""
    remote = fsspec.filesystem("s3")
    objects = [remote.cat_file(path) for path in remote.find(BUCKET)]
    files = [path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert objects
    assert files
    return b"".join([*objects, *files])


def test_the_whole_path_loses_nothing_to_a_store_that_fails(store, tmp_path, capfd, caplog):
    caplog.set_level(logging.INFO)
    local = str(tmp_path)
    ratings = zip(*low_rank_ratings(60, 30, 1500), strict=True)
    text = "u,i,r\n" + "".join(f"user {user},{item},{rating:g}\n" for user, item, rating in ratings)
    (tmp_path / "ratings.csv").write_text(text)
    Folder(BUCKET).write_bytes("ratings.csv", text.encode())
    broken: Counter[str] = Counter()

    def breaking(every: int) -> None:
        broken.update(line.partition(" ")[0] for line in store.broken())
        store.breaking(every)

    with dask_processes(tmp_path / "dask", num_workers=2) as processes:
        prepare_in(local, processes.address)
        breaking(every=29)
        prepare_in(BUCKET, processes.address)
    assert Dataset.open(BUCKET + "/data").digest == Dataset.open(local + "/data").digest
    Dataset.open(BUCKET + "/data", verify=True)

    train(settings(local, epochs=4), World.single())
    breaking(every=13)
    assert (
        run_ranks(train_rank, 2, tmp_path / "ranks", settings(BUCKET, epochs=2), spawned=True) == ["FINISHED"] * 2
    )
    breaking(every=17)
    train(settings(BUCKET, epochs=4), World.single())
    for place in (local, BUCKET):
        merge(f"{place}/run", f"{place}/model")
    digests = [
        ModelFolder.open(f"{place}/model", verify=True).manifest.contents_digest for place in (local, BUCKET)
    ]
    assert digests[0] == digests[1]

    reports = [load_model(f"{place}/model", verify=True).evaluate(f"{place}/data") for place in (local, BUCKET)]
    assert len({(report.rmse, report.mae, report.count) for report in reports}) == 1
    models = [load_model(f"{place}/model") for place in (local, BUCKET)]
    lists = [model.recommend(["user 3"], 5, False, f"{local}/data")[0].rows() for model in models]
    assert list(lists[0]) == list(lists[1])
    breaking(every=0)
    assert min(broken[kind] for kind in ("500", "503", "cut", "short")) > 1

    written = every_byte(tmp_path) + "".join(capfd.readouterr()).encode() + caplog.text.encode()
    assert KEY_ID.encode() not in written
    assert SECRET.encode() not in written


def test_what_is_appended_on_a_store_that_fails_is_what_is_appended_on_a_disk(store, tmp_path):
    rows = [f"user {user},{item},{r:g}\n" for user, item, r in zip(*low_rank_ratings(60, 30, 900), strict=True)]
    with dask_processes(tmp_path / "dask", num_workers=2) as processes:
        for name, part, append in (("first.csv", rows[:600], False), ("more.csv", rows[600:], True)):
            text = "u,i,r\n" + "".join(part)
            (tmp_path / name).write_text(text)
            Folder(BUCKET).write_bytes(name, text.encode())
            prepare_in(str(tmp_path), processes.address, name, append)
            store.breaking(every=23)
            prepare_in(BUCKET, processes.address, name, append)
            assert store.broken()
            store.breaking(0)
    remote, local = Dataset.open(f"{BUCKET}/data", verify=True), Dataset.open(str(tmp_path / "data"))
    assert remote.digest == local.digest
    assert len(remote.manifest.grown_from) == 1
    assert not Folder(f"{BUCKET}/data/preparing").names()


@pytest.fixture
def dataset(store: ObjectStore, tmp_path: Path) -> Dataset:
    """A dataset in the bucket, and the same beside it on the disk."""
    store.breaking(0)
    small_dataset(tmp_path / "data", num_users=60, num_items=30, num_ratings=800, num_shards=3)
    for path in (tmp_path / "data").rglob("*.*"):
        Folder(BUCKET).write_bytes(str(path.relative_to(tmp_path)), path.read_bytes())
    return Dataset.open(f"{BUCKET}/data")


def fetched(store: ObjectStore, part: str) -> Counter[str]:
    return Counter(line for line in store.requests() if line.startswith("GET") and part in line)


def test_training_that_reads_shards_on_every_pass_fetches_each_once(store, dataset, tmp_path):
    streaming: dict[str, Any] = {"training": {"epochs": 3, "memory_limit": "100KB"}}
    train(settings(str(tmp_path), **streaming), World.single())
    store.breaking(0)
    train(settings(BUCKET, **streaming), World.single())

    assert fetched(store, "/blocks/users/") == {f"GET /ratings/{file.name}": 1 for file in wanted(dataset)}
    digests = [
        merge(f"{place}/run", f"{tmp_path}/m{n}").contents_digest for n, place in enumerate((tmp_path, BUCKET))
    ]
    assert digests[0] == digests[1]

    store.breaking(0)
    spoil(tmp_path / "cache", dataset.block_files("users")[1].sha256)
    train(settings(BUCKET, run_dir=f"{BUCKET}/second"), World.single())
    assert fetched(store, "/blocks/users/") == {"GET /ratings/data/blocks/users/00001.safetensors": 1}


def wanted(dataset: Dataset) -> list:
    return [file.model_copy(update={"name": f"data/{file.name}"}) for file in dataset.block_files("users")]


def spoil(cache: Path, sha256: str) -> None:
    path = cache / sha256[:2] / sha256
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize(
    ("use", "named"),
    [
        (lambda: Dataset.open(f"{BUCKET}/data"), "data/manifest.json"),
        (lambda: train(settings(BUCKET), World.single()), "data/blocks/users/00001.safetensors"),
        (lambda: Folder(f"{BUCKET}/new").write_bytes("a.bin", b"1"), "new/a.bin"),
    ],
)
@pytest.mark.parametrize("kind", ["500", "503"])
@pytest.mark.usefixtures("dataset")
def test_a_refusal_that_stays_is_one_line_that_names_the_url(
    store, monkeypatch, use: Callable[[], object], named: str, kind: str
):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store.breaking(every=1, kinds=[kind], of=named)

    with pytest.raises(StorageError) as refused:
        use()

    assert f"{BUCKET}/{named}: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert store.broken()


@pytest.mark.parametrize("kind", ["short", "flip"])
@pytest.mark.usefixtures("dataset")
def test_content_that_is_wrong_every_time_is_never_used(store, tmp_path, kind):
    store.breaking(every=1, kinds=[kind], of="GET /ratings/data/blocks/users/00002")

    with pytest.raises(Exception, match=f"{BUCKET}/data/blocks/users/00002.safetensors (is damaged|.*it ends)"):
        train(settings(BUCKET), World.single())

    assert len(store.broken()) > 1
    assert not list((tmp_path / "cache").rglob("partial-*"))


@pytest.mark.usefixtures("dataset")
def test_a_store_that_does_not_answer_is_not_taken_for_a_damaged_checkpoint(store, monkeypatch):
    train(settings(BUCKET, epochs=2), World.single())
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    store.breaking(every=1, kinds=["503"], of="step-00000002/users")

    with pytest.raises(CheckpointError, match=r"step-00000002: cannot use .*; try again later"):
        train(settings(BUCKET, epochs=3), World.single())
    with pytest.raises(CheckpointError, match=rf"cannot use {BUCKET}/run/checkpoints/step-00000002/users"):
        merge(f"{BUCKET}/run", f"{BUCKET}/model")

    store.breaking(0)
    assert find_checkpoint(Folder(f"{BUCKET}/run"), 2).step == 2


@pytest.mark.usefixtures("store")
def test_a_bucket_that_is_not_there_is_named_and_never_made(capsys):
    missing = "s3://no-such-bucket"
    with pytest.raises(StorageError, match=f"^cannot write {missing}/run/a: .*bucket does not exist"):
        Folder(f"{missing}/run").write_bytes("a", b"1")
    Folder(f"{missing}/run").make()
    with pytest.raises(SystemExit):
        main(["inspect", f"{missing}/data"])
    assert f"error: inspect: there is no file {missing}/data" in capsys.readouterr().err
    assert not any("no-such-bucket" in bucket for bucket in fsspec.filesystem("s3").ls(""))


def test_a_refused_key_is_told_without_it(store, capsys):
    store.breaking(every=1, kinds=["403"])
    with pytest.raises(SystemExit):
        main(["inspect", f"{BUCKET}/data"])

    error = capsys.readouterr().err
    assert error.startswith(f"error: cannot use {BUCKET}/data/manifest.json: ")
    assert KEY_ID not in error
    assert SECRET not in error


@pytest.mark.usefixtures("store")
def test_tables_folders_and_empty_parts_of_a_bucket_are_those_of_a_disk(tmp_path):
    remote = fsspec.filesystem("s3")
    pq.write_table(pa.table({"item": ["i"], "rating": [3.0]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for name in ("delta/_delta_log/00000000000000000000.json", "delta/who=u/a.parquet", "plain/who=u/a.parquet"):
        remote.pipe(f"ratings/{name}", data if name.endswith(".parquet") else b"{}")
    remote.pipe("ratings/plain/who=u/b.parquet", b"")
    for pattern in ("delta", "delta/who=u", "delta/who=u/a.parquet", "delta/*/*.parquet", ""):
        with pytest.raises(DataError, match=r"s3://ratings/delta\b.* is a Delta table: only its log lists"):
            read(configure(f"{BUCKET}/{pattern}"))
    by_folder = {"user": "who", "item": "item", "rating": "rating"}
    for pattern in ("plain", "plain/*/*.parquet", "plain/who=u/a.parquet"):
        assert read(configure(f"{BUCKET}/{pattern}", by_folder)) == ([("u", "i", 3.0)], [])


def test_a_table_is_prepared_in_the_store_as_on_a_disk(store, tmp_path):
    user, item, rating = low_rank_ratings(60, 30, 900)
    table = pa.table({"user": user, "item": item, "rating": rating})
    with dask_processes(tmp_path / "dask", num_workers=1) as processes:
        places: dict[str, Any] = {"cluster": {"address": processes.address}, "titles": {"1": "One"}}
        remote = recsys_dist.prepare(table, f"{BUCKET}/data", **places)
        local = recsys_dist.prepare(table, tmp_path / "data", **places)

    assert remote.digest == local.digest
    assert not [path for path in fsspec.filesystem("s3").find(BUCKET) if ".preparing.tables" in path]
    assert store.url
