import io
import json
import math
import sys

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recsys_dist.errors import ConfigError
from recsys_dist.storage.folder import Folder
from recsys_dist.training.tensorboard import ScalarLog
from recsys_dist.training.tracking import EpochRecord, Tracker


def record(epoch, valid_rmse=0.9):
    extra = {"noise": 0.5, "bound": math.nan}
    return EpochRecord(epoch, 0.8, valid_rmse, num_ratings=3000, seconds=1.5, extra=extra)


def metrics(folder):
    return [json.loads(line) for line in folder.read_bytes("metrics.jsonl").decode().splitlines()]


@pytest.mark.parametrize("where", ["local", "memory"])
def test_a_resumed_run_has_each_epoch_once(where, tmp_path):
    folder = Folder(str(tmp_path) if where == "local" else f"memory://tracking-{tmp_path.name}")
    for first, last in [(1, 3), (2, 4), (5, 5)]:
        tracker = Tracker(folder, epochs=5, is_active=True)
        tracker.start(epochs_done=first - 1)
        for epoch in range(first, last + 1):
            tracker.log(record(epoch))
    assert [line["epoch"] for line in metrics(folder)] == [1, 2, 3, 4, 5]
    assert metrics(folder)[0] == {
        "epoch": 1,
        "train_rmse": 0.8,
        "valid_rmse": 0.9,
        "ratings_per_s": 2000.0,
        "seconds": 1.5,
        "noise": 0.5,
        "bound": None,
    }


def test_a_run_that_starts_over_forgets_old_records(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\nhalf a li')
    Tracker(Folder(str(tmp_path)), epochs=5, is_active=True).start(epochs_done=0)
    assert metrics(Folder(str(tmp_path))) == []


def test_a_file_gets_one_plain_line_per_epoch(tmp_path):
    out = io.StringIO()
    with Tracker(Folder(str(tmp_path)), 20, True, Console(file=out, soft_wrap=True)) as tracker:
        tracker.start(epochs_done=8)
        tracker.log(record(9))
        tracker.log(record(10, valid_rmse=None))
    first, second = out.getvalue().splitlines()
    assert first.startswith(
        "epoch  9/20  train RMSE 0.8000  valid RMSE 0.9000  2,000 ratings/s  1.50 s  left at most 0:00:0"
    )
    assert second.startswith("epoch 10/20  train RMSE 0.8000  2,000 ratings/s")


def test_a_terminal_shows_the_same_lines_and_a_bar(tmp_path):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    with Tracker(Folder(str(tmp_path)), 2, True, console) as tracker:
        tracker.start(epochs_done=0)
        tracker.log(record(1))
    assert "epoch 1/2  train RMSE" in out.getvalue()
    assert "epochs" in out.getvalue()


def test_other_ranks_stay_silent(tmp_path, capsys):
    with Tracker(Folder(str(tmp_path)), 20, is_active=False) as tracker:
        tracker.start(epochs_done=0)
        tracker.log(record(1))
        tracker.say("hello")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().out == ""


def test_tensorboard_shows_each_epoch_once_after_a_resume(tmp_path):
    folder = Folder(str(tmp_path))
    for session, (first, last) in enumerate([(1, 3), (2, 4), (5, 5)]):
        with Tracker(folder, epochs=5, is_active=True, scalars=ScalarLog(folder)) as tracker:
            tracker.start(epochs_done=first - 1)
            for epoch in range(first, last + 1):
                tracker.log(record(epoch, valid_rmse=None if epoch == 4 else 0.5 + session))

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert set(events.Tags()["scalars"]) == {"train_rmse", "valid_rmse", "ratings_per_s", "seconds", "noise"}
    assert [event.step for event in events.Scalars("train_rmse")] == [1, 2, 3, 4, 5]
    assert [(event.step, event.value) for event in events.Scalars("valid_rmse")] == [
        (1, 0.5),
        (2, 1.5),
        (3, 1.5),
        (5, 2.5),
    ]


def test_an_epoch_is_in_the_event_file_as_soon_as_it_is_logged(tmp_path):
    folder = Folder(str(tmp_path))
    with Tracker(folder, epochs=5, is_active=True, scalars=ScalarLog(folder)) as tracker:
        tracker.start(epochs_done=0)
        tracker.log(record(1))
        tracker.log(record(2))
        events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
        assert [event.step for event in events.Scalars("seconds")] == [1, 2]


def test_tensorboard_is_refused_where_it_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"^training\.tensorboard needs a local run_dir, but .*memory://x"):
        ScalarLog(Folder("memory://x"))
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    for module in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ConfigError, match=r"^training\.tensorboard: .*; pip install -e '.*\[tensorboard\]'"):
        ScalarLog(Folder(str(tmp_path)))


def test_the_peak_of_the_largest_rank_and_of_each() -> None:
    one = EpochRecord(1, 0.8, None, 3000, 1.5, {}, peak_bytes=[250_000_000])
    assert json.loads(one.to_json())["peak_memory_mb"] == 250
    assert "peak_memory_mb_of_ranks" not in json.loads(one.to_json())
    three = EpochRecord(1, 0.8, None, 3000, 1.5, {}, peak_bytes=[250_000_000, None, 300_000_000])
    assert json.loads(three.to_json())["peak_memory_mb"] == 300
    assert json.loads(three.to_json())["peak_memory_mb_of_ranks"] == [250, None, 300]
    unknown = EpochRecord(1, 0.8, None, 3000, 1.5, {}, peak_bytes=[None])
    assert "peak_memory_mb" not in json.loads(unknown.to_json())
