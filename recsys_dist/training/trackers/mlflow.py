"""A run in MLflow: the configuration as parameters, the figures of each epoch as metrics, the epoch as step.

Needs the extra `mlflow`. MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, MLFLOW_EXPERIMENT_ID and the credentials of
MLflow are read from the environment. Without a URI MLflow writes to mlflow.db in the working folder.
"""

from __future__ import annotations

import fcntl
import os
import posixpath
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_dist.storage.folder import Folder
from recsys_dist.training.trackers import remembered
from recsys_dist.training.trackers.protocol import ExperimentTracker

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

NAME = "mlflow"
EXPERIMENT = "recsys_dist"
"""The experiment, unless the environment names one."""
SHORT_WAITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""Seconds of a request and its repetitions, unless the environment has others.

MLflow would try for minutes, with a warning each time; what fails is sent again with the next epoch.
"""
MOST_PARAMETERS = 100
"""In one request."""
LONGEST_VALUE = 500
"""Characters of a parameter."""
STATUS = {"preempted": "KILLED", "failed": "FAILED"}


class Mlflow(ExperimentTracker):
    """Keeps the id of its run in RUN_DIR/mlflow.json, and asks the server which epochs it has."""

    def __init__(self, folder: Folder) -> None:
        super().__init__(folder)
        for name, value in SHORT_WAITS.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient, get_tracking_uri  # noqa: PLC0415 - an extra, and slow to import

        self._new_client, self._uri = MlflowClient, get_tracking_uri
        self._client: MlflowClient | None = None
        self._run_id = ""
        self._last_epoch: int | None = None
        """The last epoch that the server has; None: to be asked."""
        self._known: Mapping[str, float] = {}
        """The figures of the server when the run was opened."""

    def open(self, parameters: Mapping[str, Any], epochs_done: int) -> None:  # noqa: ARG002 - the server knows
        """Create the run, or set it to running again; parameters that it has stay."""
        with _alone_in_a_file(self._uri()):
            client = self._client = self._client or self._new_client()
            run = self._found(client) or self._created(client)
        self._run_id, self._last_epoch, self._known = run.info.run_id, None, run.data.metrics
        from mlflow.entities import Param  # noqa: PLC0415

        missing = [
            Param(name, str(value)[:LONGEST_VALUE])
            for name, value in flat(parameters)
            if name not in run.data.params
        ]
        for some in _parts(missing):
            client.log_batch(self._run_id, params=some)
        client.update_run(self._run_id, status="RUNNING")

    def log(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Send the figures of an epoch that the server lacks."""
        client = self._opened()
        if self._last_epoch is None:
            self._last_epoch = int(client.get_run(self._run_id).data.metrics.get("epoch", 0))
        if epoch > self._last_epoch:
            # A request that fails may have arrived, so the server is asked again before the next one.
            self._last_epoch = None
            self._send({**figures, "epoch": epoch}, epoch)
            self._last_epoch = epoch

    def close(self, outcome: str, figures: Mapping[str, float]) -> None:
        """Send the final figures and the status of the run."""
        client = self._opened()
        client.set_tag(self._run_id, "outcome", outcome)
        changed = {name: figure for name, figure in figures.items() if self._known.get(name) != figure}
        self._send(changed, self._last_epoch or 0)
        client.set_terminated(self._run_id, STATUS.get(outcome, "FINISHED"))

    def _send(self, figures: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric  # noqa: PLC0415

        now_ms = round(time.time() * 1000)
        metrics = [Metric(name, float(figure), now_ms, step) for name, figure in figures.items()]
        self._opened().log_batch(self._run_id, metrics=metrics)

    def _opened(self) -> MlflowClient:
        assert self._client is not None, "open comes first"
        return self._client

    def _found(self, client: MlflowClient) -> Run | None:
        """The run of an earlier start; None without one, or if this server does not know it."""
        run_id = remembered.read(self.folder, NAME).get("run_id")
        if run_id is None:
            return None
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            return client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _created(self, client: MlflowClient) -> Run:
        name = posixpath.basename(self.folder.url)
        run = client.create_run(_experiment_id(client), run_name=name, tags={"run_dir": self.folder.url})
        remembered.keep(self.folder, NAME, {"run_id": run.info.run_id})
        return run


@contextmanager
def _alone_in_a_file(uri: str) -> Iterator[None]:
    """Wait for other runs of this user: two that create the tables of a new SQLite file at once damage it."""
    if not uri.startswith("sqlite"):
        yield
        return
    with (Path(tempfile.gettempdir()) / f"recsys_dist-mlflow-{os.getuid()}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment_id(client: MlflowClient) -> str:
    if given := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        return given
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    if (found := client.get_experiment_by_name(name)) is None:
        from mlflow.exceptions import MlflowException  # noqa: PLC0415

        try:
            return str(client.create_experiment(name))
        except MlflowException:
            # Another run may have created it meanwhile.
            if (found := client.get_experiment_by_name(name)) is None:
                raise
    return str(found.experiment_id)


def flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a nested mapping by dotted names."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _parts(parameters: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(parameters), MOST_PARAMETERS):
        yield parameters[start : start + MOST_PARAMETERS]
