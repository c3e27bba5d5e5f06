"""`recsys_dist.train`: what the commands do, called from Python, on ranks of its own or as one of torchrun's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest

import recsys_dist as rd
from recsys_dist.errors import ConfigError, RecsysDistError
from recsys_dist.training.config import load_training
from recsys_dist.training.run import train as train_by_command
from tests.families.cases import EXAMPLES, know_example
from tests.support.job_commands import REPOSITORY
from tests.support.prepared import small_dataset

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(EXAMPLES)]),
    "OMP_NUM_THREADS": "1",
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("dataset") / "small")


def start(program: str, folder: Path, *launcher: str) -> subprocess.Popen[str]:
    """Run a program as a file without a guard for its main part."""
    path = folder / "program.py"
    path.write_text(dedent(program))
    command = [*(launcher or (sys.executable,)), str(path)]
    return subprocess.Popen(
        command, cwd=folder, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output


@pytest.mark.parametrize(
    ("model", "name", "overrides"),
    [
        (rd.MF(factors=3), "mf", ["model.factors=3"]),
        (rd.AutoRec(orientation="users", hidden=(6,)), "autorec_user", ["model.hidden=6"]),
    ],
)
def test_it_is_what_the_commands_do(dataset, tmp_path, model, name, overrides):
    trained = rd.train(dataset, model, tmp_path / "called", epochs=3)
    own = [f"dataset={dataset.folder.url}", f"run_dir={tmp_path / 'run'}", "training.epochs=3"]
    train_by_command(load_training(REPOSITORY / f"configs/{name}.yaml", [*own, *overrides]))
    rd.merge(str(tmp_path / "run"), str(tmp_path / "model"))
    by_command = rd.load_model(str(tmp_path / "model"))
    assert trained.manifest.contents_digest == by_command.manifest.contents_digest
    assert trained.folder.folder.url == str(tmp_path / "called" / "model")
    config = {**trained.manifest.config, "run_dir": str(tmp_path / "run")}
    assert config == by_command.manifest.config


def test_a_second_call_goes_on_and_replaces_the_model(dataset, tmp_path):
    settings = {"model": {"tolerance": 0}, "training": {"patience": None}, "checkpoint": {"keep": 1}}
    first = rd.train(dataset, rd.MF(factors=2), tmp_path / "run", epochs=2, settings=settings)
    written = (tmp_path / "run/model/model.json").stat().st_mtime_ns
    again = rd.train(dataset, rd.MF(factors=2), tmp_path / "run", epochs=2, settings=settings)
    assert (tmp_path / "run/model/model.json").stat().st_mtime_ns == written
    assert again.predict("u1", "i1") == first.predict("u1", "i1")
    longer = rd.train(dataset, rd.MF(factors=2), tmp_path / "run", epochs=4, settings=settings)
    assert (first.manifest.step, longer.manifest.step) == (2, 4)


def test_a_model_of_ones_own_is_given_with_its_family(dataset, tmp_path):
    know_example()
    neumf = sys.modules["neumf"]
    settings = neumf.NeuMFSettings(factors=3, hidden=(4,), batch_size=300)
    model = rd.train(dataset, settings, tmp_path / "run", epochs=2, family=neumf.NeuMF())
    assert model.manifest.kind == "neumf"
    assert np.isfinite(model.predict("u1", ["i1", "i2"])).all()


WRONG = [
    ({"model": {"kind": "mf"}}, r"model: .* is not a settings object such as recsys_dist\.MF"),
    ({"ranks": 0}, r"ranks: 0 is not a whole number, 1 or more"),
    ({"ranks": True}, r"ranks: True is not a whole number"),
    ({"ranks": 2, "device": "cuda"}, r"device: 'cuda' does not go with ranks"),
    ({"epochs": 0}, r"training\.epochs: Input should be greater than or equal to 1"),
    ({"settings": {"training": {"epoch": 3}}}, r"unknown key 'training\.epoch'; allowed here: epochs"),
    ({"start_from": "nowhere"}, r"nowhere"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_a_mistake_is_one_line(dataset, tmp_path, changes, message):
    arguments: dict[str, Any] = {"model": rd.MF(factors=2), "run_dir": tmp_path / "run", "epochs": 1, **changes}
    with pytest.raises(RecsysDistError, match=message) as refused:
        rd.train(dataset, **arguments)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_under_a_launcher_the_number_of_ranks_is_its_own(dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"ranks: 2, but this process is one of 4 ranks that a launcher"):
        rd.train(dataset, rd.MF(factors=2), tmp_path / "run", ranks=2)


PROGRAM = """
import sys
import recsys_dist as rd
model = rd.train({dataset!r}, rd.MF(factors=3), {run!r}, epochs={epochs}, {more})
print("predicted", model.predict("u1", "i1")[0])
"""


def program(dataset, run: Path, epochs: int = 3, more: str = "") -> str:
    return PROGRAM.format(dataset=dataset.folder.url, run=str(run), epochs=epochs, more=more)


@pytest.mark.slow
def test_ranks_of_its_own_and_of_torchrun_give_the_same_model(dataset, tmp_path):
    alone = rd.train(dataset, rd.MF(factors=3), tmp_path / "alone", epochs=3)
    finish(start(program(dataset, tmp_path / "own", more="ranks=2"), tmp_path))
    torchrun = ("torchrun", "--standalone", "--nproc_per_node=2")
    output = finish(start(program(dataset, tmp_path / "launched"), tmp_path, *torchrun))
    assert output.count("predicted") == 2, "each rank has the model"
    for run in ("own", "launched"):
        model = rd.load_model(str(tmp_path / run / "model"))
        assert model.manifest.contents_digest == alone.manifest.contents_digest


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "ranks=2"])
def test_ctrl_c_saves_and_the_same_call_goes_on(dataset, tmp_path, more):
    endless = f"settings={{'model': {{'tolerance': 0}}, 'training': {{'patience': None}}}}, {more}"
    run = tmp_path / "run"
    process = start(program(dataset, run, epochs=5000, more=endless), tmp_path)
    deadline = time.monotonic() + 100
    while not (run / "metrics.jsonl").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert "KeyboardInterrupt: stopped: " in output
    assert json.loads((run / "status.json").read_text())["state"] == "preempted"
    done = len((run / "metrics.jsonl").read_text().splitlines())
    settings = {"model": {"tolerance": 0}, "training": {"patience": None}}
    model = rd.train(dataset, rd.MF(factors=3), run, epochs=done + 1, settings=settings)
    assert len((run / "metrics.jsonl").read_text().splitlines()) == done + 1
    assert model.manifest.step <= done + 1
