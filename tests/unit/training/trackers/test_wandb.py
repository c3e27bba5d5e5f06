"""Runs of wandb that stay on the disk: one id, each epoch once, configuration and final figures."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.errors import ConfigError
from recsys_dist.storage.folder import Folder
from recsys_dist.training.trackers.choice import new_trackers
from tests.support.prepared import small_dataset
from tests.support.tracked import forget_epochs, train_tracked

wandb = pytest.importorskip("wandb", reason="needs the extra wandb")

BLOCK_BYTES, FILE_HEAD_BYTES, RECORD_HEAD = 32768, 7, "<IHB"
WHOLE, LAST = 1, 4
"""Kinds of parts of records: the only one, the last of several."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_DIR", raising=False)
    yield
    wandb.teardown()


def records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file, which is a log of LevelDB."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, whole = path.read_bytes(), FILE_HEAD_BYTES, b""
    head = struct.calcsize(RECORD_HEAD)
    while place + head <= len(data):
        if BLOCK_BYTES - place % BLOCK_BYTES < head:
            place += BLOCK_BYTES - place % BLOCK_BYTES
            continue
        _, length, kind = struct.unpack_from(RECORD_HEAD, data, place)
        whole += data[place + head : place + head + length]
        place += head + length
        if kind in {WHOLE, LAST}:
            yield Record.FromString(whole)
            whole = b""


def test_a_run_that_is_resumed_has_one_id_and_each_epoch_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_dataset(tmp_path / "data")
    run_dir = tmp_path / "run"
    train_tracked(monkeypatch, run_dir, tmp_path / "data", 1, [])
    train_tracked(monkeypatch, run_dir, tmp_path / "data", 3, ["wandb"])
    forget_epochs(run_dir, after=2)
    train_tracked(monkeypatch, run_dir, tmp_path / "data", 4, ["wandb"])
    wandb.teardown()  # its process may still write
    files = sorted(run_dir.glob("wandb/offline-run-*/run-*.wandb"))
    kept = json.loads((run_dir / "wandb.json").read_text())
    assert [path.stem for path in files] == [f"run-{kept['id']}"] * 2
    found = [record for path in files for record in records(path)]
    rows = [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in one.history.item}
        for one in found
        if one.HasField("history")
    ]
    assert [(row["_step"], row["valid_rmse"]) for row in rows] == [
        (epoch, pytest.approx(rmse)) for epoch, rmse in enumerate((0.9, 0.8, 0.7, 0.75), 1)
    ]
    text = b"".join(path.read_bytes() for path in files)
    assert b"outcome" in text
    assert b"best_valid_rmse" in text
    config = {
        update.key: json.loads(update.value_json)
        for one in found
        if one.HasField("run")
        for update in one.run.config.update
    }
    assert config["model"]["kind"] == "mf"


def test_a_run_online_needs_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ConfigError, match=r"^training\.trackers: wandb has no key of yours; run `wandb login`"):
        new_trackers(["wandb"], Folder(str(tmp_path / "run")), {})
    assert not (tmp_path / "run").exists()
