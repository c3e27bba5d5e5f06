"""Training on two hosts: the bits of one, and what is left of a run when a host is killed, stopped or cut off."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from recsys_dist.checkpoint.checkpoint import CHECKPOINTS, Checkpoint, committed_names
from recsys_dist.checkpoint.compare import content_digests, find_differences
from recsys_dist.config import load_settings
from recsys_dist.distributed.world import World
from recsys_dist.protocols.family import ModelFamily
from recsys_dist.protocols.registry import family_named
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.parity import ParityRun
from recsys_dist.training.run import train
from tests.support.hosts import REPOSITORY, Hosts, connected_hosts, why_unavailable
from tests.support.prepared import small_dataset

pytestmark = [pytest.mark.hosts, pytest.mark.slow, pytest.mark.timeout(600)]

PORT = 29500
EPOCHS = 60  # enough that a fast machine still trains when the host is lost
EPOCHS_BEFORE_LOSS = 20
EVERY = 10  # epochs between checkpoints, so that there is one to resume from
TIMEOUT_S = 8.0  # also for the ranks to meet, on a busy machine
PATIENCE_S = TIMEOUT_S + 40.0
"""For the survivors to end: the timeout, the roll call, and torchrun's own end on a busy machine."""
MODELS = {
    "mf": ("model.factors=4", "model.tolerance=0"),
    "autorec_item": ("model.hidden=8", "model.batch_ratings=2000"),
}
FAMILIES = {"mf": family_named("mf"), "autorec_item": family_named("autorec")}


class Training:
    """One run on two hosts of one rank each; with the same arguments it is the same run."""

    def __init__(self, hosts: Hosts, model: str, dataset: Path, run_dir: Path) -> None:
        self._hosts, self._model, self._dataset, self.run_dir = hosts, model, dataset, run_dir
        self._outputs: list[IO[bytes]] = []
        self.nodes: list[subprocess.Popen[bytes]] = []

    def command(self, host: int) -> list[str]:
        """That of the documentation for several nodes."""
        meeting = [f"--node-rank={host}", f"--master-addr={self._hosts.address(0)}", f"--master-port={PORT}"]
        launch = ["torchrun", "--nnodes=2", "--nproc-per-node=1", *meeting, "launch/train.py"]
        keys = settings(self._model, self._dataset, self.run_dir)
        return [*launch, "--config", f"configs/{self._model}.yaml", *keys]

    @contextmanager
    def running(self, *wrapper: str) -> Iterator[Training]:
        """Start it on both hosts, by a `wrapper` in place of torchrun if there is one; at the end all is ended."""
        with ExitStack() as cleanup:
            self._outputs = [cleanup.enter_context(tempfile.TemporaryFile()) for _ in range(2)]
            self.nodes = []
            for host, output in enumerate(self._outputs):
                cleanup.callback(self._hosts.end_all, host)
                command = [*wrapper, *self.command(host)[1:]] if wrapper else self.command(host)
                self.nodes.append(self._hosts.start(host, command, output, RUN_DIR=str(self.run_dir)))
            yield self

    def output(self, host: int) -> str:
        self._outputs[host].seek(0)
        return self._outputs[host].read().decode()

    def complaint(self, host: int) -> str:
        """The one line by which the rank of a host tells why it ended."""
        (line,) = [line for line in self.output(host).splitlines() if line.startswith("error: ")]
        return line

    def wait(self, host: int, deadline_s: float) -> int:
        """The exit code of a host's torchrun."""
        try:
            return self.nodes[host].wait(deadline_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"host {host} had not ended after {deadline_s:.0f} s:\n{self.output(0)}\n{self.output(1)}")

    def wait_for_epochs(self, number: int) -> None:
        deadline = time.monotonic() + 120
        while self.epochs() < number:
            ended = [node.poll() for node in self.nodes]
            assert ended == [None, None], f"{ended}\n{self.output(0)}\n{self.output(1)}"
            assert time.monotonic() < deadline, f"{self.output(0)}\n{self.output(1)}"
            time.sleep(0.01)

    def epochs(self) -> int:
        path = self.run_dir / "metrics.jsonl"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def finish(self, *wrapper: str) -> str:
        """Run it to its end; what host 0 printed."""
        with self.running(*wrapper):
            for host in range(2):
                assert self.wait(host, 120) == 0, self.output(host)
            assert json.loads((self.run_dir / "status.json").read_text())["state"] == "finished"
            return self.output(0)


def settings(model: str, dataset: Path, run_dir: Path) -> list[str]:
    length = ("training.patience=null", f"training.epochs={EPOCHS}", f"checkpoint.every={EVERY}")
    where = (f"dataset={dataset}", f"run_dir={run_dir}", "device=cpu", f"training.timeout_s={TIMEOUT_S:g}")
    return [*where, *length, *MODELS[model]]


def final_checkpoint(run_dir: Path) -> Checkpoint:
    checkpoints = Folder(str(run_dir)).child(CHECKPOINTS)
    return Checkpoint.open(checkpoints.child(str(committed_names(checkpoints)[-1])))


def assert_same_model(left: Path, right: Path, family: ModelFamily[Any], tolerance: float) -> None:
    first, second = final_checkpoint(left), final_checkpoint(right)
    assert first.step == second.step == EPOCHS
    names = sorted(content_digests(first).keys() | content_digests(second).keys())
    differences = tuple(find_differences(first, second, names))
    found = ParityRun(2, 0.0, "", differences, family.state_beside_model)
    assert found.beyond(tolerance) == []


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all runs here train on; skips where no hosts can be made."""
    reason = why_unavailable()
    if reason is not None:
        pytest.skip(reason)
    path = tmp_path_factory.mktemp("data") / "dataset"
    small_dataset(path)
    return path


@pytest.fixture
def hosts(dataset: Path) -> Iterator[Hosts]:  # noqa: ARG001  (made only where hosts can be)
    with connected_hosts(2) as made:
        yield made


@pytest.fixture(scope="module")
def unbroken(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run folder of a model trained on two hosts without a break."""
    folder = tmp_path_factory.mktemp("unbroken")

    def run_dir(model: str) -> Path:
        if not (folder / model).exists():
            with connected_hosts(2) as pair:
                Training(pair, model, dataset, folder / model).finish("bash", "launch/train_node.sh")
        return folder / model

    return run_dir


@pytest.mark.parametrize("model", sorted(MODELS))
def test_two_hosts_train_the_model_of_one(
    dataset: Path, unbroken: Callable[[str], Path], tmp_path: Path, model: str
) -> None:
    alone = settings(model, dataset, tmp_path / "alone")
    train(load_settings(TrainConfig, REPOSITORY / "configs" / f"{model}.yaml", alone), World.single())

    family = FAMILIES[model]
    assert_same_model(tmp_path / "alone", unbroken(model), family, family.parity_tolerance)


def kill(hosts: Hosts, host: int) -> None:
    hosts.signal_all(host, signal.SIGKILL)


def stop(hosts: Hosts, host: int) -> None:
    hosts.signal_all(host, signal.SIGSTOP)


WHERE = rf"the rendezvous at 192\.0\.2\.1:{PORT}"


@pytest.mark.parametrize(
    ("model", "lose", "lost", "survivors"),
    [
        ("autorec_item", kill, 1, {0: "rank 0 of 2: .* failed: no response from rank 1: "}),
        ("mf", stop, 0, {1: f"rank 1 of 2: .* failed: no answer from {WHERE}: "}),
        (
            "mf",
            Hosts.cut,
            1,
            {
                0: "rank 0 of 2: .* failed: no response from rank 1: ",
                1: f"rank 1 of 2: .* failed: no answer from {WHERE}: ",
            },
        ),
    ],
    ids=["killed", "stopped", "cut off"],
)
def test_a_lost_host_ends_the_others_and_the_same_command_resumes(
    hosts: Hosts,
    dataset: Path,
    unbroken: Callable[[str], Path],
    tmp_path: Path,
    model: str,
    lose: Callable[[Hosts, int], None],
    lost: int,
    survivors: dict[int, str],
) -> None:
    training = Training(hosts, model, dataset, tmp_path / "run")
    with training.running():
        training.wait_for_epochs(EPOCHS_BEFORE_LOSS)

        lose(hosts, lost)

        deadline = time.monotonic() + PATIENCE_S
        for host, told in survivors.items():
            assert training.wait(host, max(0.0, deadline - time.monotonic())) == 1
            assert re.match(f"error: {told}", training.complaint(host)), training.complaint(host)
    assert training.epochs() < EPOCHS
    hosts.mend(lost)

    assert "resumes after epoch " in training.finish()
    assert_same_model(training.run_dir, unbroken(model), FAMILIES[model], tolerance=0)
