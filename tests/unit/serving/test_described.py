"""Requests made from the OpenAPI description of the service, valid and invalid ones, find no failure."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.merged import mf_run, write_merged
from tests.support.prepared import small_dataset
from tests.support.serving import running_server

pytest.importorskip("fastapi")

SETTINGS = """
[checks.negative_data_rejection]
expected-statuses = ["400", "404", "405", "406", "409", "413", "415", "422"]
"""
EXAMPLES = 5


@pytest.mark.slow
def test_requests_made_from_the_description_find_no_failure(tmp_path):
    program = Path(sys.executable).parent / "schemathesis"
    if not program.exists():
        pytest.skip("schemathesis is not installed")
    dataset = small_dataset(tmp_path / "dataset")
    write_merged(mf_run(dataset), dataset, tmp_path / "model")
    (tmp_path / "schemathesis.toml").write_text(SETTINGS)

    with running_server(tmp_path / "model", tmp_path / "server.log") as server:
        options = ["--max-examples", str(EXAMPLES), "--generation-deterministic"]
        found = subprocess.run(
            [program, "run", f"{server.url}/openapi.json", "--phases", "examples,coverage,fuzzing", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    assert found.returncode == 0, found.stdout[-8000:]
    assert "Traceback" not in server.log.read_text()
