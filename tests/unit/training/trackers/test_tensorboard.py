"""TensorBoard reads what a run wrote, with each epoch once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recsys_dist.errors import ConfigError
from recsys_dist.storage.folder import Folder
from recsys_dist.training.trackers.choice import new_trackers

FIGURES = {"train_rmse": 0.8, "seconds": 1.5}


def events(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def test_each_epoch_stands_there_once_after_resumes(tmp_path: Path) -> None:
    for session, (first, last) in enumerate([(1, 3), (2, 4), (5, 5)]):
        trackers = new_trackers(["tensorboard"], Folder(str(tmp_path)), {"model": {"kind": "mf"}})
        trackers.open(first - 1)
        for epoch in range(first, last + 1):
            trackers.log(epoch, {**FIGURES, "valid_rmse": None if epoch == 4 else 0.5 + session})
        trackers.close("preempted" if last < 5 else "finished", {"best_valid_rmse": 0.5})
    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {"train_rmse", "valid_rmse", "seconds", "best_valid_rmse"}
    assert [event.step for event in found.Scalars("train_rmse")] == [1, 2, 3, 4, 5]
    valid = [(event.step, event.value) for event in found.Scalars("valid_rmse")]
    assert valid == [(1, 0.5), (2, 1.5), (3, 1.5), (5, 2.5)]
    texts = {
        tag: found.Tensors(f"{tag}/text_summary")[-1].tensor_proto.string_val
        for tag in ("configuration", "outcome")
    }
    assert b"kind: mf" in texts["configuration"][0]
    assert texts["outcome"] == [b"finished"]


def test_an_epoch_is_on_the_disk_as_soon_as_it_is_logged(tmp_path: Path) -> None:
    trackers = new_trackers(["tensorboard"], Folder(str(tmp_path)), {})
    trackers.open(0)
    trackers.log(1, FIGURES)
    trackers.log(2, FIGURES)
    assert [event.step for event in events(tmp_path).Scalars("seconds")] == [1, 2]
    trackers.close("finished", {})


def test_it_is_refused_behind_a_url() -> None:
    with pytest.raises(
        ConfigError, match=r"^training\.trackers: tensorboard needs a local run_dir, but memory://x"
    ):
        new_trackers(["tensorboard"], Folder("memory://x"), {})
