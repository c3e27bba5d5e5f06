"""The commands of the README as a user types them: torchrun on two ranks, stopped and resumed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys_dist.api.model import load_model
from recsys_dist.config import load_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.world import World
from recsys_dist.merging import merge
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run import train
from tests.support.job_commands import REPOSITORY
from tests.support.prepared import low_rank_ratings, small_dataset

pytestmark = pytest.mark.slow

EPOCHS = 120  # enough that a fast machine is still training when the signal arrives
MODELS = {
    "mf": ("model.factors=4", "model.tolerance=0"),
    "autorec_item": ("model.hidden=8", "model.batch_ratings=460"),
}
BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


class Runs:
    """Runs of one model on one small dataset, all with the same settings."""

    def __init__(self, folder: Path, model: str) -> None:
        self.dataset = folder / "dataset"
        self.folder = folder
        self.model = model
        small_dataset(self.dataset)

    def settings(self, run: str) -> list[str]:
        stop = ("training.patience=null", f"training.epochs={EPOCHS}", "checkpoint.every=100", "device=cpu")
        return [f"dataset={self.dataset}", f"run_dir={self.folder / run}", *stop, *MODELS[self.model]]

    def torchrun(self, run: str) -> list[str]:
        """The command of the README, from a checkout."""
        launch = ["torchrun", "--standalone", "--nproc_per_node=2", "launch/train.py"]
        return [*launch, "--config", f"configs/{self.model}.yaml", *self.settings(run)]

    def torchrun_module(self, run: str) -> list[str]:
        """The same where the package is installed."""
        launch = ["torchrun", "--standalone", "--nproc_per_node=2", "-m", "recsys_dist", "train"]
        return [*launch, "--config", self.model, *self.settings(run)]

    def epochs(self, run: str) -> list[int]:
        path = self.folder / run / "metrics.jsonl"
        return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []

    def state(self, run: str) -> str:
        return json.loads((self.folder / run / "status.json").read_text())["state"]


@pytest.fixture(scope="module", params=sorted(MODELS))
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """With one run of two ranks that is done."""
    runs = Runs(tmp_path_factory.mktemp(request.param), request.param)
    succeed(runs.torchrun("two_ranks"))
    return runs


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY, env=ENVIRONMENT
    )


def succeed(command: list[str]) -> str:
    with start(command) as process:
        output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, f"{' '.join(command)}\n{output}"
    return output


def test_two_ranks_then_merge_evaluate_and_recommend_equal_a_single_process(runs: Runs) -> None:
    model, report = runs.folder / "model", runs.folder / "report.json"
    succeed(["recsys-dist", "merge", str(runs.folder / "two_ranks"), "--output", str(model)])
    told = ["--dataset", str(runs.dataset), "--output", str(report)]
    succeed(["recsys-dist", "evaluate", str(model), *told])
    films = succeed(["recsys-dist", "recommend", str(model), "--user", "u1", "--user", "u2", "--top", "5"])

    config = load_settings(TrainConfig, REPOSITORY / "configs" / f"{runs.model}.yaml", runs.settings("alone"))
    train(config, World.single())
    merge(config.run_dir, str(runs.folder / "model_alone"))
    alone = load_model(str(runs.folder / "model_alone")).evaluate(str(runs.dataset))

    together = json.loads(report.read_text())
    assert together["count"] == alone.count > 0
    assert together["rmse"] == pytest.approx(alone.rmse, abs=1e-7 if runs.model == "mf" else 1e-5)
    assert together["rmse"] < together["baselines"]["global_mean"]["rmse"]
    assert films.count("Film ") >= 6


def test_a_run_that_is_told_to_stop_saves_resumes_and_ends_as_if_it_never_had(runs: Runs) -> None:
    with start(runs.torchrun("stopped")) as process:
        deadline = time.monotonic() + 120
        while len(runs.epochs("stopped")) < 3:
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert runs.state("stopped") == "preempted", output
    assert 3 <= len(runs.epochs("stopped")) < EPOCHS

    resumed = succeed(runs.torchrun("stopped"))

    assert "resumes " in resumed
    assert runs.state("stopped") == "finished"
    assert runs.epochs("stopped") == list(range(1, EPOCHS + 1))
    digests = {
        merge(str(runs.folder / run), str(runs.folder / f"{run}_model")).contents_digest
        for run in ("two_ranks", "stopped")
    }
    assert len(digests) == 1, "a resumed run must end with the same bits as one that was never stopped"


def test_the_module_trains_as_the_file_does(runs: Runs) -> None:
    succeed(runs.torchrun_module("module"))

    digests = {
        merge(str(runs.folder / run), str(runs.folder / f"{run}_compared")).contents_digest
        for run in ("two_ranks", "module")
    }
    assert len(digests) == 1


def test_a_finished_run_says_so_and_changes_nothing(runs: Runs) -> None:
    checkpoints = runs.folder / "two_ranks" / "checkpoints"
    before = sorted(checkpoints.iterdir())

    output = succeed(runs.torchrun("two_ranks"))

    assert f"is finished after {EPOCHS} epochs" in output
    assert sorted(checkpoints.iterdir()) == before


def write_day(path: Path, first_user: int, last_user: int, seed: int) -> None:
    user, item, rating = low_rank_ratings(200, 60, 5000, seed=seed)
    chosen = (user >= first_user) & (user < last_user)
    rows = zip(user[chosen], item[chosen], rating[chosen], strict=True)
    path.write_text("user,item,rating\n" + "".join(f"u{u},i{i},{r}\n" for u, i, r in rows))


def test_a_run_goes_on_with_the_ratings_that_were_added(tmp_path: Path) -> None:
    write_day(tmp_path / "monday.csv", 0, 150, seed=0)
    write_day(tmp_path / "tuesday.csv", 100, 200, seed=1)
    dataset, model = tmp_path / "dataset", tmp_path / "model"
    columns = "input.columns={user: user, item: item, rating: rating, timestamp: null}"
    prepare = ["recsys-dist", "prepare", "--config", "configs/prepare_csv.yaml", f"output={dataset}", columns]
    launch = ["torchrun", "--standalone", "--nproc_per_node=2", "launch/train.py", "--config", "configs/mf.yaml"]
    train = [*launch, f"dataset={dataset}", "model.factors=3", "training.epochs=6", "device=cpu"]

    succeed([*prepare, f"input.paths={tmp_path / 'monday.csv'}"])
    succeed([*train, f"run_dir={tmp_path / 'monday'}"])
    succeed([*prepare, "--append", str(tmp_path / "tuesday.csv")])
    told = succeed([*train, f"run_dir={tmp_path / 'tuesday'}", f"start_from={tmp_path / 'monday'}"])
    succeed(["recsys-dist", "merge", str(tmp_path / "tuesday"), "--output", str(model)])
    succeed(["recsys-dist", "evaluate", str(model), "--dataset", str(dataset), "--output", f"{tmp_path}/r.json"])
    listed = succeed(["recsys-dist", "recommend", str(model), "--user", "u199", "--user", "u0", "--top", "3"])

    assert f"starting from {tmp_path / 'monday'}" in told
    grown, report = Dataset.open(str(dataset)), json.loads((tmp_path / "r.json").read_text())
    users = pq.read_table(model / "users.parquet")["user_id"].to_pylist()
    assert users == grown.ids("users").to_pylist()
    assert "u199" in users[150:]
    assert report["count"] == grown.manifest.num_ratings["test"]
    assert report["rmse"] < report["baselines"]["global_mean"]["rmse"]
    assert {"u199", "u0"} <= set(re.findall(r"\bu\d+\b", listed))


@pytest.mark.parametrize("launcher", [["recsys-dist", "train"], ["python", "launch/train.py"]], ids=" ".join)
def test_a_mistake_of_the_user_is_one_line_and_exit_code_2(launcher: list[str], tmp_path: Path) -> None:
    command = [*launcher, "--config", "configs/mf.yaml", f"dataset={tmp_path}", f"run_dir={tmp_path / 'run'}"]

    with start([*command, "model.factor=4"]) as process:
        output, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert output.count("\n") == 1
    assert output.startswith("error: configs/mf.yaml: unknown key 'model.factor'; allowed here: kind, factors")
    assert not (tmp_path / "run").exists()
