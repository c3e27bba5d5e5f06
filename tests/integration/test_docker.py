"""docker/: lint, users and commands. No image is built here: that needs a Docker engine and a registry."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.training.config import TrainConfig
from tests.support.job_commands import REPOSITORY, check_command

DOCKERFILE = REPOSITORY / "docker" / "Dockerfile"


@pytest.fixture
def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((REPOSITORY / "docker" / "compose.yaml").read_text())["services"]


def instructions(name: str) -> list[str]:
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return [line.removeprefix(name).strip() for line in text.splitlines() if line.startswith(f"{name} ")]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"

    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_runs_as_a_user_without_privileges_on_a_pinned_base() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", instructions("USER")[-1])
    for base in instructions("FROM"):
        assert re.match(r"python:\d+\.\d+-slim-\w+", base), f"{base} is not a pinned slim base"


def test_what_the_image_copies_is_in_the_build_context() -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {word for line in instructions("COPY") if "--from" not in line for word in line.split()[:-1]}

    assert ignored[0] == "*"
    # A file may be copied ahead of its folder.
    whole = {name for name in copied if copied.isdisjoint(map(str, Path(name).parents))}
    assert whole == allowed
    assert all((REPOSITORY / name).exists() for name in copied)


def test_compose_has_a_dask_cluster_of_two_workers_and_a_trainer(services: dict[str, dict[str, Any]]) -> None:
    assert services["scheduler"]["command"][:2] == ["dask", "scheduler"]
    assert services["worker"]["command"][:3] == ["dask", "worker", "tcp://scheduler:8786"]
    assert services["worker"]["deploy"]["replicas"] == 2
    assert not any("ports" in service for service in services.values()), "a scheduler runs any code it is sent"
    prepare, train = (check_command(services[name]["command"]) for name in ("prepare", "train"))
    assert isinstance(prepare, PrepareConfig)
    assert isinstance(train, TrainConfig)
    assert prepare.cluster.address == "tcp://scheduler:8786"
    assert prepare.output == train.dataset


def test_the_tag_of_compose_is_the_one_that_the_same_build_has_in_the_dockerfile(
    services: dict[str, dict[str, Any]],
) -> None:
    ordinary = re.search(r"--tag (\S+) \.$", DOCKERFILE.read_text(), re.MULTILINE)
    tags = {re.sub(r"\$\{TORCH_BUILD:-(\w+)\}", r"\1", service["image"]) for service in services.values()}

    assert ordinary is not None
    assert services["train"]["build"]["args"] == {"TORCH_OPTIONS": "${TORCH_OPTIONS:-}"}
    assert tags == {ordinary[1]}


@pytest.mark.parametrize("name", ["scheduler", "worker"])
def test_dask_understands_the_options(services: dict[str, dict[str, Any]], name: str) -> None:
    dask, role, *options = services[name]["command"]
    program = Path(sys.executable).parent / dask

    # --version ends the program after its options were read, unless one before it is unknown.
    done = subprocess.run(
        [program, role, *options, "--version"], capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
