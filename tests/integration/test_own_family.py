"""A family of one's own, examples/neumf.py, through the commands: nothing in the package names it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.api.model import load_model
from recsys_dist.merging import merge
from tests.families.cases import EXAMPLES, know_example
from tests.support.job_commands import REPOSITORY
from tests.support.prepared import small_dataset

pytestmark = pytest.mark.slow

EPOCHS, BROKEN_EPOCHS = 200, 60
FAMILY = ("--family", "neumf:NeuMF")
ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": str(REPOSITORY),
    "OMP_NUM_THREADS": "1",
}


class OwnFamily:
    """Commands given in the folder of the example, on one small dataset."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dataset = folder, folder / "dataset"
        small_dataset(self.dataset)

    def train(self, run: str, *settings: str) -> list[str]:
        launch = ["torchrun", "--standalone", "--nproc_per_node=2", "-m", "recsys_dist", "train"]
        small = ("model.factors=4", "model.hidden=[6]", "model.batch_size=400", "device=cpu")
        ends = (f"training.epochs={EPOCHS}", "training.patience=null", "checkpoint.every=100")
        where = (f"dataset={self.dataset}", f"run_dir={self.folder / run}")
        return [*launch, "--config", "neumf.yaml", *where, *small, *ends, *settings]

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        options: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=EXAMPLES, env=ENVIRONMENT, **options)

    def tell(self, command: list[str], code: int = 0) -> str:
        with self.start(command) as process:
            output, _ = process.communicate(timeout=240)
        assert process.returncode == code, f"{' '.join(command)}\n{output}"
        return output

    def recsys_dist(self, *arguments: str, code: int = 0) -> str:
        return self.tell(["recsys-dist", *arguments], code)

    def epochs(self, run: str) -> int:
        path = self.folder / run / "metrics.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """With a run of two ranks that is done."""
    own = OwnFamily(tmp_path_factory.mktemp("own"))
    own.tell(own.train("whole"))
    return own


def test_it_trains_merges_evaluates_recommends_and_reports(own):
    run, model, report = (str(own.folder / name) for name in ("whole", "model", "report.json"))
    own.recsys_dist("merge", run, "--output", model, *FAMILY)
    own.recsys_dist("evaluate", model, "--dataset", str(own.dataset), "--output", report, *FAMILY)
    films = own.recsys_dist("recommend", model, "--user", "u1", "--top", "5", *FAMILY)
    own.recsys_dist("report", run, "--evaluation", report, "--output", str(own.folder / "page.html"), *FAMILY)
    told = json.loads(Path(report).read_text())
    assert told["model"]["kind"] == "neumf"
    assert told["rmse"] < told["baselines"]["global_mean"]["rmse"]
    assert films.count("Film ") >= 3
    assert "NeuMF, 4 factors" in (own.folder / "page.html").read_text()
    know_example()
    folded = load_model(model).fold_in(["i1", "i2"], [5, 1])
    assert len(folded.recommend(5).item_ids) == 5


@pytest.mark.parametrize("parallel", ["ddp", "sharded"])
def test_a_run_that_is_killed_or_stopped_ends_as_if_it_never_had(own, parallel):
    run, whole = f"{parallel}_broken", f"{parallel}_whole"
    settings = (f"model.parallel={parallel}", f"training.epochs={BROKEN_EPOCHS}", "checkpoint.every=1")
    own.tell(own.train(whole, *settings))
    for number, ends_by in enumerate((signal.SIGKILL, signal.SIGTERM)):
        with own.start(own.train(run, *settings)) as process:
            deadline, wanted = time.monotonic() + 120, own.epochs(run) + 3
            while own.epochs(run) < wanted:
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.01)
            if ends_by is signal.SIGKILL:
                kill_ranks(process.pid)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=120)
        assert own.epochs(run) < BROKEN_EPOCHS, f"stop {number} came too late"
    own.tell(own.train(run, *settings))
    know_example()
    digests = {
        merge(str(own.folder / one), str(own.folder / f"{one}_model")).contents_digest for one in (run, whole)
    }
    assert len(digests) == 1


def kill_ranks(launcher: int) -> None:
    """Kill the ranks of a torchrun, so that nothing of them is saved."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        os.kill(int(child), signal.SIGKILL)


def test_without_its_name_it_is_refused_in_one_line(own):
    told = own.recsys_dist("merge", str(own.folder / "whole"), "--output", str(own.folder / "never"), code=2)
    assert "of the family 'neumf', which is not installed; give --family MODULE:CLASS" in told
    assert not (own.folder / "never").exists()


def test_nothing_in_the_package_names_it():
    for path in (REPOSITORY / "recsys_dist").rglob("*.py"):
        assert "neumf" not in path.read_text().replace("such as neumf:NeuMF", "").lower(), path
