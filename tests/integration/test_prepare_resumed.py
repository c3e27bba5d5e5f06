"""Preparations that are broken off and started again: what is done anew, and that the same bytes come out."""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from distributed import Client

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST
from recsys_dist.errors import BrokenOffError, ConfigError, DataError
from recsys_dist.preparation import output as output_module
from recsys_dist.preparation.arrays import scratch
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.storage.folder import Folder

NAMED = {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}
RULES = {
    "plain": {},
    "in rounds": {
        "split": {"kind": "time", "test": 0.2, "valid": 0.1},
        "ratings": {"min_user_ratings": 5, "min_item_ratings": 7},
    },
}


def write_ratings(path, seed=0, num_rows=2000):
    rng = np.random.default_rng(seed)
    user, item, time_ = (
        rng.integers(0, 90, num_rows),
        rng.zipf(1.5, num_rows) % 200,
        rng.integers(0, 999, num_rows),
    )
    rows = zip(user, item, rng.integers(1, 11, num_rows) / 2, time_, strict=True)
    path.write_text("user,item,rating,timestamp\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in rows))
    return path


@pytest.fixture
def settings(address, tmp_path):
    write_ratings(tmp_path / "ratings.csv")

    def make(output, **changes):
        tree = {
            "input": {"paths": str(tmp_path / "ratings.csv"), "columns": NAMED, "block_bytes": 3000},
            "shards": {"users": 5, "items": 3},
            "output": str(tmp_path / output),
            "cluster": {"address": address},
            **changes,
        }
        return PrepareConfig.model_validate(tree)

    return make


def counted(config):
    """Prepare, and count the tasks of each stage that were run."""
    first: dict[str, int] = {}
    last: Counter[str] = Counter()

    def count(stage, done, _total, _rows):
        first.setdefault(stage, done)
        last[stage] = max(last[stage], done)

    prepare(config, count)
    return {stage: last[stage] - first[stage] for stage in last if last[stage] > first[stage]}


def break_off(config, stage, done):
    def end(now, tasks, *_):
        if (now, tasks) == (stage, done):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, end)
    # A task that was running goes on to its end, and writes into what another start may be about to remove.
    with Client(config.cluster.address) as client:
        wait_for(lambda: not any(client.run(_num_executing).values()))


def _num_executing(dask_worker):
    return dask_worker.state.executing_count


@pytest.mark.parametrize("rules", RULES)
def test_what_is_broken_off_anywhere_goes_on_to_the_same_bytes(settings, tmp_path, rules):
    changes = RULES[rules]
    order = []
    prepare(settings("whole", **changes), lambda stage, done, *_: order.append((stage, done)))
    stages = list(dict.fromkeys(stage for stage, _ in order))
    for number, stage in enumerate(stages):
        config = settings(f"broken-{number}", **changes)
        break_off(config, stage, 1)
        assert not (tmp_path / f"broken-{number}" / MANIFEST).exists()
        left = counted(config)
        # No task of a stage before this one, and not the one that was seen to end.
        assert set(left) <= set(stages[number:])
        total = max(done for name, done in order if name == stage)
        assert left.get(stage, 0) <= total - 1
        manifest = (tmp_path / f"broken-{number}" / MANIFEST).read_bytes()
        assert manifest == (tmp_path / "whole" / MANIFEST).read_bytes()
        assert not (tmp_path / f"broken-{number}" / "preparing").exists()
    Dataset.open(str(tmp_path / "broken-0"), verify=True)


def test_a_process_killed_in_the_middle_goes_on(settings, tmp_path):
    whole = counted(settings("whole"))
    tree = settings("out").model_dump(mode="json")
    tree["cluster"] = {"kind": "local", "workers": 1}
    (tmp_path / "config.json").write_text(json.dumps(tree))
    command = [Path(sys.executable).parent / "recsys-dist", "prepare", "--config", tmp_path / "config.json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(lambda: len(list((tmp_path / "out").rglob("*.done"))) > whole["parse"] // 2)
    process.kill()
    process.wait()
    # The workers end with it.
    time.sleep(0.5)
    done = len(list((tmp_path / "out").rglob("*.done")))
    # Another cluster, as it makes no difference.
    assert sum(counted(settings("out")).values()) == sum(whole.values()) - done
    assert (tmp_path / "out" / MANIFEST).read_bytes() == (tmp_path / "whole" / MANIFEST).read_bytes()


def wait_for(condition, patience_s=60):
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of its own in memory, whose size can be changed."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def resize(size, options="remount,"):
        command = ["mount", "-t", "tmpfs", "-o", f"{options}size={size}", "tmpfs", str(disk)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not resize("300k", options=""):
        pytest.skip("needs the right to mount a disk")
    yield disk, resize
    # Workers may still have files mapped.
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def test_a_full_disk_is_named_and_the_rest_is_done_when_there_is_room(settings, tmp_path, small_disk):
    (disk, resize), whole = small_disk, counted(settings("whole"))
    config = settings("disk/out")
    with pytest.raises(BrokenOffError, match=r"No space left on device; finished work is kept in .*disk/out/prep"):
        prepare(config)
    done = len(list(disk.rglob("*.done")))
    assert done > 5
    assert not (disk / "out" / MANIFEST).exists()
    resize("100m")
    assert sum(counted(config).values()) == sum(whole.values()) - done
    assert (disk / "out" / MANIFEST).read_bytes() == (tmp_path / "whole" / MANIFEST).read_bytes()


def test_a_changed_input_is_noticed_between_the_starts_and_between_the_passes(settings, tmp_path, caplog):
    config, path = settings("out"), tmp_path / "ratings.csv"
    break_off(config, "collect users", 2)
    write_ratings(path, seed=1)
    left = counted(config)
    assert {"parse", "merge items", "collect users"} <= set(left)
    assert f"{path} has changed since the interruption" in caplog.text
    Dataset.open(str(tmp_path / "out"), verify=True)

    def touch(stage, done, *_):
        if (stage, done) == ("parse", 3):
            status = path.stat()
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))

    with pytest.raises(DataError, match=r"ratings\.csv changed while it was being read"):
        prepare(settings("other"), touch)
    assert not (tmp_path / "other").exists()


def test_other_settings_start_anew_and_another_cluster_does_not(settings):
    break_off(settings("out"), "write users", 1)
    left = counted(settings("out", split={"kind": "random", "test": 0.3}))
    assert "parse" in left
    # Before any task of the stage is handed out, so that none may end while it is broken off.
    break_off(settings("again"), "write users", 0)
    elsewhere = settings("again", cluster={"kind": "local", "workers": 1}, overwrite=True)
    assert set(counted(elsewhere)) == {"write users", "write items"}


def test_what_another_version_left_in_other_files_is_not_used(settings, monkeypatch):
    break_off(settings("out"), "write users", 0)
    monkeypatch.setattr(scratch, "FORMAT", scratch.FORMAT + 1)
    assert "parse" in counted(settings("out"))


def test_a_task_that_runs_on_does_not_hinder_a_start_with_other_settings(settings, tmp_path):
    break_off(settings("out"), "write users", 1)
    (scratch,) = (tmp_path / "out").glob("preparing/*/scratch")
    for number in range(3000):
        (scratch / f"earlier-{number}").touch()
    is_writing = threading.Event()

    def write_on():
        # As a task does: by name, and never making the folder.
        with contextlib.suppress(FileNotFoundError):
            for number in itertools.count():
                (scratch / f"later-{number}").touch()
                is_writing.set()

    task = threading.Thread(target=write_on)
    task.start()
    is_writing.wait()
    try:
        assert "parse" in counted(settings("out", split={"kind": "random", "test": 0.3}))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        task.join()
    Dataset.open(str(tmp_path / "out"), verify=True)
    assert not (tmp_path / "out" / "preparing").exists()


def test_what_a_machine_wrote_before_it_went_down_is_not_used(settings, tmp_path):
    config = settings("out")
    break_off(config, "write items", 1)
    (attempt,) = (tmp_path / "out").glob("preparing/*/attempt.json")
    tree = json.loads(attempt.read_text())
    name, _ = tree["machine"].split(" ")
    attempt.write_text(json.dumps({**tree, "machine": f"{name} 00000000-0000-0000-0000-000000000000"}))
    assert "parse" in counted(config)


@pytest.mark.parametrize("moment", range(6))
def test_a_kill_while_the_new_dataset_takes_its_place_leaves_one(settings, tmp_path, monkeypatch, moment):
    old = settings("out", split={"kind": "random", "test": 0.4})
    prepare(old)
    old_digest = Dataset.open(str(tmp_path / "out")).digest
    prepare(settings("fresh"))
    new_digest = Dataset.open(str(tmp_path / "fresh")).digest
    config, calls = settings("out", overwrite=True), []

    def dying(method):
        def call(self, *arguments):
            if self.url == str(tmp_path / "out"):
                calls.append(method)
                if len(calls) == (0, 1, 2, 4, 9, 23)[moment] + 1:
                    raise SystemExit
            return method(self, *arguments)

        return call

    with monkeypatch.context() as patch:
        publish = output_module.Output.publish

        def watched(self, work, manifest):
            for name in ("take", "remove", "write_bytes"):
                patch.setattr(Folder, name, dying(getattr(Folder, name)))
            publish(self, work, manifest)

        patch.setattr(output_module.Output, "publish", watched)
        with pytest.raises(SystemExit):
            prepare(config)
    found = Dataset.open(str(tmp_path / "out"), verify=True).digest
    assert found == (old_digest if moment == 0 else new_digest)
    assert counted(config) == {}
    assert Dataset.open(str(tmp_path / "out"), verify=True).digest == new_digest
    assert not (tmp_path / "out" / "preparing").exists()
    with pytest.raises(ConfigError, match="holds a prepared dataset; set overwrite"):
        prepare(settings("out"))
