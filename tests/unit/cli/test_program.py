"""The program itself: its names, its version, completion, and `--config` by name for all that take it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recsys_dist.version import __version__

ROOT = Path(__file__).resolve().parents[3]
MODULE = [sys.executable, "-m", "recsys_dist"]


def ended(*command: str | Path, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_version_is_told_without_loading_what_computes(tmp_path):
    done = ended(sys.executable, "-X", "importtime", "-m", "recsys_dist", "--version", cwd=tmp_path)

    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert (done.returncode, done.stdout) == (0, f"recsys-dist {__version__}\n")
    assert "recsys_dist.cli.commands" in loaded
    assert not loaded & {"torch", "numpy", "dask", "distributed", "pyarrow", "pydantic", "yaml"}


def test_the_module_has_the_name_of_the_program(tmp_path):
    done = ended(*MODULE, "train", "--help", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "Usage: recsys-dist train" in done.stdout
    assert "write ./NAME.yaml for the file" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("recsys-dist pre", ["prepare", "predict"]),
        ("recsys-dist train --config autorec", ["autorec_item", "autorec_user"]),
        ("recsys-dist train --config ./autorec", []),
    ],
)
def test_a_shell_completes_commands_and_names_of_configurations(tmp_path, words, completed):
    number = str(len(words.split()) - 1)
    asked = {"_RECSYS_DIST_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": number}

    done = ended(*MODULE, cwd=tmp_path, **asked)

    assert (done.returncode, done.stdout.split(), done.stderr) == (0, completed, "")


def test_completion_is_installed_for_the_program_by_its_name(tmp_path):
    asked = {"HOME": str(tmp_path), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}

    shown = ended(*MODULE, "--show-completion", "bash", cwd=tmp_path, **asked)
    installed = ended(*MODULE, "--install-completion", "bash", cwd=tmp_path, **asked)

    assert (shown.returncode, installed.returncode) == (0, 0), shown.stderr + installed.stderr
    assert shown.stdout.strip().endswith(" recsys-dist")
    assert (tmp_path / ".bash_completions" / "recsys-dist.sh").read_text().strip() == shown.stdout.strip()


@pytest.mark.parametrize("command", ["prepare", "train", "verify-parity"])
def test_every_command_that_takes_a_configuration_takes_a_name(tmp_path, command):
    unknown = ended(*MODULE, command, "--config", "nope", cwd=tmp_path)
    (tmp_path / "mf.yaml").touch()
    ambiguous = ended(*MODULE, command, "--config", "mf", cwd=tmp_path)
    known = ended(*MODULE, command, "--config", "autorec_item", "sed=1", cwd=tmp_path)

    for done, told in [
        (unknown, "'nope': no shipped configuration has this name"),
        (ambiguous, "write ./mf.yaml for the file"),
        (known, "configs/autorec_item.yaml"),
    ]:
        assert done.returncode == 2
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
