"""What `pip install recsys-dist` alone gives: the wheel in an empty environment, used from an empty folder.

The environment is made anew, with the dependencies at the versions of constraints.txt, from the package index.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from recsys_dist.version import __version__
from tests.support.job_commands import REPOSITORY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

MOVIETWEETINGS = REPOSITORY / "tests" / "data" / "movietweetings"
TORCHRUN = ("torchrun", "--standalone", "--nproc_per_node=2", "-m", "recsys_dist", "train")
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


def succeed(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    """Standard output of a command."""
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    succeed(sys.executable, *PIP, "wheel", "--no-deps", "--wheel-dir", ".", REPOSITORY, cwd=folder)
    (built,) = folder.iterdir()
    return built


@dataclass
class Installed:
    """An environment with the wheel, and an empty folder to work in."""

    environment: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> str:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        variables |= {"PATH": f"{self.environment / 'bin'}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        return succeed(self.environment / "bin" / program, *arguments, cwd=self.folder, environment=variables)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    environment = tmp_path_factory.mktemp("installed") / "venv"
    pins = (REPOSITORY / "constraints.txt").read_text().splitlines()
    (torch,) = (pin for pin in pins if pin.startswith("torch=="))
    (wheel.parent / "constraints.txt").write_text("\n".join(pin for pin in pins if pin != torch))
    # The pip of these tests installs there, and compiles nothing ahead: half the work.
    succeed(sys.executable, "-m", "venv", "--without-pip", environment, cwd=wheel.parent)
    install = (sys.executable, *PIP, "--python", environment / "bin" / "python", "install", "--no-compile")
    try:
        # As launch/setup.sh does: torch alone, and then the build of it that has come stays.
        succeed(*install, torch, cwd=wheel.parent)
        succeed(*install, "--constraint", "constraints.txt", wheel, cwd=wheel.parent)
        yield Installed(environment, tmp_path_factory.mktemp("empty"))
    finally:
        # More than a gigabyte, which pytest would keep for three runs.
        shutil.rmtree(environment)


def test_the_wheel_holds_the_package_with_its_types_and_all_configurations(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}

    about = f"recsys_dist-{__version__}.dist-info"
    assert {name.split("/")[0] for name in files} == {"recsys_dist", about}
    assert not [name for name in files if "/tests/" in name or "benchmark" in name]
    assert "recsys_dist/py.typed" in files
    configs = {path.name: path.read_bytes() for path in (REPOSITORY / "configs").iterdir()}
    assert {name.split("/")[-1]: text for name, text in files.items() if "/configs/" in name} == configs
    ratings = {path.name: path.read_bytes() for path in MOVIETWEETINGS.iterdir()}
    assert {name.split("/")[-1]: text for name, text in files.items() if "/demo_ratings/" in name} == ratings
    package = (path.relative_to(REPOSITORY) for path in (REPOSITORY / "recsys_dist").rglob("*") if path.is_file())
    assert {str(path) for path in package if "__pycache__" not in path.parts} <= files.keys()
    told = files[f"{about}/METADATA"].decode()
    assert all(f"Project-URL: {name}, https://" in told for name in ("Source", "Issues", "Changelog"))


def test_the_program_runs_by_its_name_and_as_a_module(installed: Installed) -> None:
    where = installed.run("python", "-c", "import recsys_dist; print(recsys_dist.__file__)")
    versions = installed.run("recsys-dist", "--version"), installed.run("python", "-m", "recsys_dist", "--version")

    assert Path(where.strip()).is_relative_to(installed.environment)
    assert versions == (f"recsys-dist {__version__}\n",) * 2
    assert "recsys-dist" in installed.run("recsys-dist", "--show-completion")


def test_from_rating_files_to_figures_by_the_names_of_shipped_configurations(installed: Installed) -> None:
    files = (
        f"input.paths={MOVIETWEETINGS / 'ratings.dat.gz'}",
        f"items.paths={MOVIETWEETINGS / 'movies.dat.gz'}",
    )
    tiny = ("dataset=dataset", "model.factors=4", "training.epochs=2", "device=cpu")

    installed.run(
        *("recsys-dist", "prepare", "--config", "prepare_movietweetings", *files, "output=dataset"),
        "cluster.workers=1",
    )
    installed.run("recsys-dist", "train", "--config", "mf", "run_dir=alone", *tiny)
    installed.run(*TORCHRUN, "--config", "mf", "run_dir=together", *tiny)
    for run in ("alone", "together"):
        installed.run("recsys-dist", "merge", run, "--output", f"{run}_model")
        installed.run(
            *("recsys-dist", "evaluate", f"{run}_model", "--dataset", "dataset", "--output", f"{run}.json")
        )

    alone, together = (json.loads((installed.folder / f"{run}.json").read_text()) for run in ("alone", "together"))
    assert alone["rmse"] == pytest.approx(together["rmse"], abs=1e-6)
    assert alone["rmse"] < alone["baselines"]["global_mean"]["rmse"]
    # Nothing but what was asked for is left in the folder.
    left = {path.name for path in installed.folder.iterdir()}
    assert left == {
        "dataset",
        *(f"{run}{end}" for run in ("alone", "together") for end in ("", "_model", ".json")),
    }
