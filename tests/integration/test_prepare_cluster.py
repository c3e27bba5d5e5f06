"""Preparation on clusters: where they listen, what they leave, and what a worker that dies changes."""

import os
import socket
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from distributed.security import Security

from recsys_dist.config import load_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation.cluster.cluster import open_cluster
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import ClusterSettings, PrepareConfig
from tests.support.dask_processes import dask_processes

DATA = Path("tests/data/movietweetings")
LISTENING = "0A"


def movietweetings(output, *overrides):
    paths = [f"input.paths={DATA}/ratings.dat.gz", f"items.paths={DATA}/movies.dat.gz", f"output={output}"]
    return load_settings(PrepareConfig, "configs/prepare_movietweetings.yaml", [*paths, *overrides])


def processes():
    """This process and all below it: {pid: command line}."""
    found, waiting = {}, [os.getpid()]
    while waiting:
        pid = waiting.pop()
        try:
            found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes()
            tasks = list(Path(f"/proc/{pid}/task").iterdir())
            waiting += [int(child) for task in tasks for child in (task / "children").read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def listening_hosts():
    """The addresses that sockets of these processes listen on."""
    inodes, hosts = set(), []
    for descriptor in [fd for pid in processes() for fd in Path(f"/proc/{pid}/fd").iterdir()]:
        with suppress(FileNotFoundError):
            inodes.add(str(descriptor.readlink()))
    for family, table in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in inodes:
                words = bytes.fromhex(fields[1].partition(":")[0])
                packed = b"".join(words[start : start + 4][::-1] for start in range(0, len(words), 4))
                hosts.append(socket.inet_ntop(family, packed))
    return hosts


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """MovieTweetings, prepared by a local cluster that is watched meanwhile."""
    output = tmp_path_factory.mktemp("local") / "dataset"
    hosts, stages, scratch = [], {}, []
    # Of its own: other clusters of this machine have their scratch folders in the usual one.
    temporary = tmp_path_factory.mktemp("temporary")

    def watch(stage, done, total, _rows):
        if stage == "collect users" and done == 0:
            hosts.extend(listening_hosts())
            scratch.extend(temporary.glob("recsys-dist-*"))
        stages[stage] = (done, total)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(temporary))
        prepare(movietweetings(output, "cluster.workers=2", "cluster.memory_limit=1GiB"), watch)
    assert len(scratch) == 1
    return Dataset.open(str(output), verify=True), hosts, stages, list(temporary.glob("recsys-dist-*"))


def test_a_local_cluster_listens_on_loopback_alone_and_leaves_nothing(dataset):
    _, hosts, stages, left = dataset
    assert len(hosts) >= 4
    assert set(hosts) == {"127.0.0.1"}
    assert left == []
    assert not [command for command in processes().values() if b"multiprocessing.spawn" in command]
    assert list(stages) == ["parse", "merge items", "number items", "collect users", "write users", "write items"]
    assert all(done == total for done, total in stages.values())


def test_movietweetings_is_prepared_whole(dataset):
    prepared = dataset[0]
    manifest = prepared.manifest
    assert (manifest.num_users, manifest.num_items, manifest.rows.kept) == (16_554, 10_506, 100_000)
    assert manifest.rows.rejected == {}
    assert manifest.num_ratings["test"] == pytest.approx(10_000, rel=0.05)
    assert len(prepared.shards("users")) == len(prepared.shards("items")) == 4
    shares = [shard.num_ratings for shard in prepared.shards("users")]
    assert max(shares) <= 1.1 * sum(shares) / len(shares)
    titles = dict(zip(prepared.ids("items").to_pylist(), prepared.titles.to_pylist(), strict=True))
    assert titles["0002844"] == "Fantômas - À l'ombre de la guillotine (1913)"


def test_a_killed_worker_changes_no_byte(dataset, tmp_path):
    with dask_processes(tmp_path / "dask", num_workers=2) as cluster:
        victims = [cluster.workers[0]]

        def kill_once(stage, done, *_):
            if stage == "collect users" and done == 1 and victims:
                victims.pop().kill()

        config = movietweetings(tmp_path / "out", f"cluster.address={cluster.address}", "cluster.kind=address")
        prepare(config, kill_once)
        assert victims == []
    local = Path(dataset[0].folder.url)
    assert (tmp_path / "out" / MANIFEST).read_bytes() == (local / MANIFEST).read_bytes()


def test_workers_killed_between_the_rounds_change_no_byte(tmp_path):
    rules = ["ratings.min_user_ratings=5", "ratings.min_item_ratings=8", "split={kind: time}", "shards.users=6"]
    with dask_processes(tmp_path / "dask", num_workers=3) as cluster:
        waiting = {"filter k-core": 1, "split users": 1}
        joined = [*rules, f"cluster.address={cluster.address}", "cluster.kind=address"]
        prepare(movietweetings(tmp_path / "whole", *joined))

        def kill(stage, done, *_):
            if done and waiting.get(stage) == done:
                del waiting[stage]
                cluster.workers[len(waiting)].kill()

        prepare(movietweetings(tmp_path / "killed", *joined), kill)
        assert waiting == {}
    whole, killed = (Dataset.open(str(tmp_path / name), verify=True) for name in ("whole", "killed"))
    assert whole.digest == killed.digest
    assert whole.manifest.rows.rejected["too few ratings of the item"] > 1000


def test_a_scheduler_behind_tls_is_used_with_its_certificates_alone(dataset, tmp_path):
    made = Security.temporary()
    files = {"ca": made.tls_ca_file, "cert": made.tls_scheduler_cert, "key": made.tls_scheduler_key}
    for name, text in files.items():
        (tmp_path / f"{name}.pem").write_text(text)
    paths = {name: str(tmp_path / f"{name}.pem") for name in files}
    options = [f"--tls-{name}{'-file' if name == 'ca' else ''}={path}" for name, path in paths.items()]
    # The scheduler's own option is `--protocol`; both take the certificates under the same names.
    with dask_processes(tmp_path / "dask", 1, ["--protocol", "tls", *options]) as cluster:
        assert cluster.address.startswith("tls://127.0.0.1:")
        tls = [f"cluster.tls.{name}={path}" for name, path in paths.items()]
        joined = [f"cluster.address={cluster.address}", "cluster.kind=address"]
        prepare(movietweetings(tmp_path / "out", *joined, *tls))
        plain = [joined[0].replace("tls://", "tcp://"), joined[1]]
        with pytest.raises(ConfigError, match=r"no scheduler answers at tcp://127\.0\.0\.1"):
            prepare(movietweetings(tmp_path / "plain", *plain))
    local = Path(dataset[0].folder.url)
    assert (tmp_path / "out" / MANIFEST).read_bytes() == (local / MANIFEST).read_bytes()


def test_a_task_that_kills_its_worker_is_named(tmp_path):
    with dask_processes(tmp_path, num_workers=1, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0") as processes:
        settings = ClusterSettings.model_validate({"address": processes.address})
        with (
            open_cluster(settings, num_blocks=1) as cluster,
            pytest.raises(DataError, match=r"parse: every worker that ran ratings\.csv from byte 0 to 9 died"),
        ):
            cluster.run("parse", os._exit, [(1,)], ["ratings.csv from byte 0 to 9"])
