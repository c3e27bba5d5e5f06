"""Every entry tells torch's threads to sleep while they wait, in time for OpenMP to read it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

API = "import recsys_dist; recsys_dist.load_model"
COMMAND = "from recsys_dist.cli import main; main(['merge', 'no-such-run', '--output', 'MODEL'])"
LAUNCHER = """
import runpy, sys
sys.argv = ["evaluate.py", "no-such-model", "--dataset", "no-such-dataset"]
runpy.run_path("launch/evaluate.py", run_name="__main__")
"""


@pytest.mark.parametrize("entry", [API, COMMAND, LAUNCHER], ids=["python", "command", "launcher"])
@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_openmp_is_told_before_torch_loads_it(entry, given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_DISPLAY_ENV": "TRUE"} | ({"OMP_WAIT_POLICY": given} if given else {})

    ended = subprocess.run(
        [sys.executable, "-c", entry], env=environment, capture_output=True, text=True, check=False, timeout=120
    )

    assert f"OMP_WAIT_POLICY = '{expected}'" in ended.stderr, ended.stderr
