"""Runs in a real MLflow server on loopback, in a SQLite file without one, and with a server that hangs."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.training.loop import Outcome
from recsys_dist.training.trackers import mlflow as mlflow_tracker
from tests.support.mlflow_server import MlflowServer, running_mlflow, why_unavailable
from tests.support.prepared import small_dataset
from tests.support.tracked import forget_epochs, train_tracked

pytest.importorskip("mlflow", reason="needs the extra mlflow")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    if (reason := why_unavailable()) is not None:
        pytest.skip(reason)
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as started:
        yield started


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "small"
    small_dataset(path)
    return path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", tmp_path.name)


def train(patch: pytest.MonkeyPatch, run_dir: Path, dataset: Path, epochs: int, **changes: Any) -> Outcome:
    return train_tracked(patch, run_dir, dataset, epochs, ["mlflow"], **changes)


class TestServer:
    @pytest.fixture(autouse=True)
    def address(self, server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)

    @pytest.fixture
    def client(self, server: MlflowServer) -> Any:
        from mlflow.tracking import MlflowClient

        return MlflowClient(server.url)

    def test_a_run_that_is_resumed_is_one_run_with_each_epoch_once(
        self, client: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_dir = tmp_path / "run-7"
        train(monkeypatch, run_dir, dataset, 3, is_stopped=True)
        assert [(one.info.status, one.data.tags["outcome"]) for one in runs(client, tmp_path.name)] == [
            ("KILLED", "preempted")
        ]
        train(monkeypatch, run_dir, dataset, 3)
        forget_epochs(run_dir, after=2)
        train(monkeypatch, run_dir, dataset, 5)
        (run,) = runs(client, tmp_path.name)
        assert (run.info.run_name, run.info.status) == ("run-7", "FINISHED")
        assert run.data.tags["outcome"] == "finished"
        assert run.data.params["model.kind"] == "mf"
        assert run.data.params["training.epochs"] == "3", "parameters cannot change"
        assert run.data.metrics["best_epoch"] == 5
        assert run.data.metrics["best_valid_rmse"] == pytest.approx(0.6)
        history = client.get_metric_history(run.info.run_id, "valid_rmse")
        assert [(one.step, one.value) for one in history] == [
            (epoch, pytest.approx(rmse)) for epoch, rmse in enumerate((0.9, 0.8, 0.7, 0.75, 0.6), 1)
        ]

    def test_a_training_that_fails_is_marked(
        self, client: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> Any:
            raise OSError("the disk is gone")

        with pytest.raises(Exception, match="the disk is gone"):
            train(monkeypatch, tmp_path / "run", dataset, 3, train_epoch=fail)
        (run,) = runs(client, tmp_path.name)
        assert (run.info.status, run.data.tags["outcome"]) == ("FAILED", "failed")

    def test_an_experiment_that_another_run_creates_meanwhile(self, client: Any, tmp_path: Path) -> None:
        made = client.create_experiment(tmp_path.name)

        class Late:
            looks = 0

            def get_experiment_by_name(self, name: str) -> Any:
                self.looks += 1
                return client.get_experiment_by_name(name) if self.looks > 1 else None

            create_experiment = staticmethod(client.create_experiment)

        assert mlflow_tracker._experiment_id(Late()) == made

    def test_a_server_that_hangs_is_warned_of_once_and_gets_the_rest_later(
        self,
        server: MlflowServer,
        client: Any,
        dataset: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        run_dir = tmp_path / "run"
        train(monkeypatch, run_dir, dataset, 2)
        with server.hanging():
            assert train(monkeypatch, run_dir, dataset, 4) is Outcome.FINISHED
        assert "training.trackers: mlflow: " in only_warning(caplog)
        train(monkeypatch, run_dir, dataset, 6)
        (run,) = runs(client, tmp_path.name)
        assert [one.step for one in client.get_metric_history(run.info.run_id, "epoch")] == [1, 2, 3, 4, 5, 6]
        assert run.info.status == "FINISHED"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy, about MLflow
def test_without_a_server_a_file_in_the_working_folder_has_the_run(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sqlalchemy", reason="needs the extra mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    train(monkeypatch, tmp_path / "run", dataset, 2)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as file:
        steps = file.execute("select step from metrics where key = 'valid_rmse' order by step").fetchall()
    assert steps == [(1,), (2,)]


def test_no_server_at_all_is_one_warning(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert train(monkeypatch, tmp_path / "run", dataset, 3) is Outcome.FINISHED
    assert "training.trackers: mlflow: " in only_warning(caplog)


def only_warning(caplog: pytest.LogCaptureFixture) -> str:
    (one,) = (record for record in caplog.records if record.levelno >= logging.WARNING)
    return one.getMessage()


def runs(client: Any, experiment: str) -> list[Any]:
    found = client.get_experiment_by_name(experiment)
    return list(client.search_runs([found.experiment_id]))
