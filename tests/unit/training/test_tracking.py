import io
import json
import math

import pytest
from rich.console import Console

from recsys_dist.storage.folder import Folder
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


def test_the_peak_of_the_largest_rank_and_of_each() -> None:
    one = EpochRecord(1, 0.8, None, 3000, 1.5, {}, peak_bytes=[250_000_000])
    assert json.loads(one.to_json())["peak_memory_mb"] == 250
    assert "peak_memory_mb_of_ranks" not in json.loads(one.to_json())
    three = EpochRecord(1, 0.8, None, 3000, 1.5, {}, peak_bytes=[250_000_000, None, 300_000_000])
    assert json.loads(three.to_json())["peak_memory_mb"] == 300
    assert json.loads(three.to_json())["peak_memory_mb_of_ranks"] == [250, None, 300]
    unknown = EpochRecord(1, 0.8, None, 3000, 1.5, {}, peak_bytes=[None])
    assert "peak_memory_mb" not in json.loads(unknown.to_json())
