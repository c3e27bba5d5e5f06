"""`prepare` and `verify_parity` called from Python, by programs that guard nothing with `__name__`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from recsys_dist.process.spawning import without_main_program
from tests.support.prepared import small_dataset

PREPARE = """
import json, sys, threading
from recsys_dist.config import parse_settings
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.prepare import prepare

print("begins", flush=True)
settings = json.loads(sys.argv[1])
manifest = prepare(parse_settings(PrepareConfig, settings, "program"))
print("kept", manifest.rows.kept)
"""
PARITY = """
import json, sys
from recsys_dist.config import parse_settings
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.parity import verify_parity

print("begins", flush=True)
runs = verify_parity(parse_settings(TrainConfig, json.loads(sys.argv[1]), "program"), [1, 2], 1)
print("ranks", [run.num_ranks for run in runs], runs[0].digest == runs[1].digest)
"""
TABLE = """
import json, sys
import psutil, pyarrow
import recsys_dist

print("begins", flush=True)
given = json.loads(sys.argv[1])
dataset = recsys_dist.prepare(pyarrow.table(given["table"]), given["output"], cluster={"workers": 2})
print("kept", dataset.manifest.rows.kept, "of", dataset.num_users, "users")
lasting = [child for child in psutil.Process().children() if "resource_tracker" not in " ".join(child.cmdline())]
print("children", lasting)
"""
WAYS = {
    "script": lambda text, folder: ([str(_written(text, folder))], None),
    "module": lambda text, folder: (["-m", _written(text, folder).stem], None),
    "stdin": lambda text, _: (["-"], text),
    "command": lambda text, _: (["-c", text], None),
    "folder": lambda text, folder: ([str(_written(text, folder, "__main__.py").parent)], None),
}


def _written(text: str, folder: Path, name: str = "unguarded.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def run_program(way: str, text: str, folder: Path, settings: dict) -> list[str]:
    """The lines that a program prints which is started in this way."""
    arguments, stdin = WAYS[way](text, folder)
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")]), str(Path.cwd())])
    done = subprocess.run(
        [sys.executable, *arguments, json.dumps(settings)],
        input=stdin,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("way", WAYS)
def test_prepare_works_from_a_program_without_a_guard(tmp_path, way):
    (tmp_path / "ratings.csv").write_text(
        "user,item,rating\n" + "".join(f"u{n % 7},i{n % 11},{1 + n % 5}\n" for n in range(77))
    )
    columns = {"user": "user", "item": "item", "rating": "rating"}
    settings = {
        "input": {"paths": str(tmp_path / "ratings.csv"), "columns": columns, "block_bytes": 400},
        "output": str(tmp_path / "dataset"),
        "cluster": {"workers": 2},
    }

    # Once: no worker has run the program anew.
    assert run_program(way, PREPARE, tmp_path, settings) == ["begins", "kept 77"]


@pytest.mark.parametrize("way", ["script", "stdin"])
def test_a_table_is_prepared_from_a_program_without_a_guard(tmp_path, way):
    table = {
        "user": [f"u{n % 7}" for n in range(77)],
        "item": [*range(77)],
        "rating": [1 + n % 5 for n in range(77)],
    }

    lines = run_program(way, TABLE, tmp_path, {"table": table, "output": str(tmp_path / "dataset")})

    assert lines == ["begins", "kept 77 of 7 users", "children []"]


@pytest.mark.parametrize("way", ["script", "stdin"])
def test_parity_is_verified_from_a_program_without_a_guard(tmp_path, way):
    dataset = small_dataset(tmp_path / "dataset")
    settings = {
        "model": {"kind": "mf", "factors": 2},
        "dataset": dataset.folder.url,
        "run_dir": "unused",
        "training": {"epochs": 1},
    }

    assert run_program(way, PARITY, tmp_path, settings) == ["begins", "ranks [1, 2] True"]


def test_processes_of_others_still_find_what_their_program_defines(tmp_path, monkeypatch):
    from multiprocessing import spawn

    program = ModuleType("__main__")
    program.__file__ = str(tmp_path / "program.py")
    monkeypatch.setitem(sys.modules, "__main__", program)

    def keys(name: str) -> set[str]:
        return {key for key in spawn.get_preparation_data(name) if key.startswith("init_main")}

    plain = keys("Process-1")
    assert plain == {"init_main_from_path"}
    with without_main_program("rank "):
        assert keys("Process-1") == plain
        assert keys("rank 0") == set()
    assert keys("rank 0") == plain
