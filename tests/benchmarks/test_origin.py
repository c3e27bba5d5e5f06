"""What a figure says of the checkout and of the machine it was measured on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.origin import Origin, commit_of, processor
from recsys_dist.errors import ConfigError


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "docs").mkdir()
    for name in ("code.py", "docs/figures.json"):
        (tmp_path / name).write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


def test_a_clean_checkout_is_named_by_its_commit(checkout: Path) -> None:
    assert commit_of(checkout, is_dirty_allowed=False) == git(checkout, "rev-parse", "--short", "HEAD")


@pytest.mark.parametrize("name", ["code.py", "new.py"])
def test_a_changed_checkout_is_refused_or_marked(checkout: Path, name: str) -> None:
    (checkout / name).write_text("2")
    with pytest.raises(ConfigError, match=rf"{name}.*--dirty"):
        commit_of(checkout, is_dirty_allowed=False)
    assert commit_of(checkout, is_dirty_allowed=True).endswith(" with changes")


def test_figures_of_an_earlier_suite_are_no_change(checkout: Path) -> None:
    (checkout / "docs" / "figures.json").write_text("2")
    assert "changes" not in commit_of(checkout, is_dirty_allowed=False)


def test_a_folder_without_git_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="git says"):
        commit_of(tmp_path, is_dirty_allowed=True)


def test_an_origin_names_processor_cores_memory_and_versions(checkout: Path) -> None:
    origin = Origin.of("python -m benchmarks.run quick", False, checkout)
    assert " cores, " in origin.machine
    assert origin.machine.endswith(" GB")
    assert [part.split()[0] for part in origin.versions.split(", ")] == ["python", "torch", "numpy", "recsys_dist"]


def test_processors_of_one_name_are_told_apart(tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("model name\t: AMD EPYC\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: other\n")
    assert processor(told).endswith("(family 26, model 2)")
    assert processor(tmp_path / "none")
