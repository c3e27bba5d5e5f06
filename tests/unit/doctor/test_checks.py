"""Each check of `doctor` in a world made up for it: what it says, and at which level."""

from __future__ import annotations

import os
import shutil
import sys
from collections import namedtuple
from types import SimpleNamespace

import fsspec
import pytest
import torch

from recsys_dist.distributed.gpus import Gpus
from recsys_dist.distributed.interfaces import CHOICE, Interface
from recsys_dist.doctor import devices, memory, network, processor, storage, versions
from recsys_dist.doctor.finding import GIB, MIB
from recsys_dist.errors import TrainingError
from recsys_dist.extras import requirements
from recsys_dist.process import cgroups
from recsys_dist.storage import credentials
from tests.support.prepared import small_dataset


def told(check, *arguments) -> list[tuple[str, str]]:
    """Level and line of each finding."""
    findings = [(finding.level, finding.line) for finding in check(*arguments)]
    assert all("\n" not in line for _, line in findings)
    return findings


def the_only(check, *arguments) -> tuple[str, str]:
    (finding,) = told(check, *arguments)
    return finding


VERSIONS = {"torch": "2.13.0+cpu", "numpy": "2.0.9", "s3fs": "2025.10", "matplotlib": "3.10"}


@pytest.mark.parametrize(
    ("requirement", "lack"),
    [
        ("torch>=2.13", None),
        ("torch", None),
        ("numpy>=2.1", "numpy 2.0.9 is older than 2.1"),
        ("s3fs>=2025.3", None),
        ("dask[complete]>=2026.3", "dask is not installed"),
    ],
)
def test_a_package_is_compared_with_what_is_required(monkeypatch, requirement, lack):
    monkeypatch.setattr(versions, "installed", VERSIONS.get)

    assert versions.lacking(requirement) == lack


def test_missing_packages_are_problems_and_missing_extras_notes(monkeypatch):
    wanted = {"": ["torch>=2.13", "numpy>=2.1"], "s3": ["s3fs>=2025.3"], "report": ["jinja2"], "dev": ["ruff"]}
    monkeypatch.setattr(versions, "installed", VERSIONS.get)
    monkeypatch.setattr(versions, "requirements", lambda: wanted)

    first, problem = told(versions.check_versions)
    assert first[0] == "ok"
    assert "torch 2.13.0+cpu" in first[1]
    assert problem == ("problem", "packages: numpy 2.0.9 is older than 2.1; pip install 'numpy>=2.1'")
    there, absent = told(versions.check_extras)
    assert there == ("ok", "extra s3: s3fs 2025.10")
    assert absent[0] == "note"
    assert absent[1].startswith(
        "extra report: jinja2 is not installed; for `report` and `inspect --plot`: pip install"
    )


def test_every_extra_that_users_need_is_told():
    assert set(requirements()) - set(versions.PURPOSES) == {"", "docs", "dev"}


@pytest.mark.parametrize(
    ("load", "quota", "level", "text"),
    [
        (0.5, "max 100000", "ok", "cores: 8, load 0.5"),
        (9.5, "max 100000", "note", "load 9.5: other programs use them"),
        (0.5, "150000 100000", "note", "this process may use 1.5 of them; set OMP_NUM_THREADS=1"),
    ],
)
def test_cores(monkeypatch, tmp_path, load, quota, level, text):
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0, 0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    monkeypatch.setattr(processor, "own_cgroups", lambda: [tmp_path / "none", tmp_path])

    found = the_only(processor.check_cores)

    assert found[0] == level
    assert text in found[1]


@pytest.mark.parametrize(
    ("settings", "levels", "text"),
    [
        ({"GOMP_SPINCOUNT": "1000"}, ["ok", "ok"], "mf with 3, the cores that are free now"),
        ({"OMP_NUM_THREADS": "5"}, ["ok", "ok"], "by OMP_NUM_THREADS=5"),
        ({"OMP_NUM_THREADS": "all"}, ["problem", "ok"], "OMP_NUM_THREADS=all is not a number"),
        ({"OMP_WAIT_POLICY": "active"}, ["ok", "note"], "waiting threads take cores from working ones"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, ["ok", "ok"], "waiting threads sleep at once (OMP_WAIT_POLICY=PASSIVE)"),
    ],
)
def test_threads_and_wait_policy(monkeypatch, settings, levels, text):
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processor, "free_cores", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)

    found = told(processor.check_threads)

    assert [level for level, _ in found] == levels
    assert any(text in line for _, line in found)


@pytest.mark.parametrize(
    ("free", "limit", "level", "text"),
    [
        (16 * GIB, None, "ok", "free 16.0 GiB"),
        (GIB, 2 * GIB, "note", "the container's limit 2.0 GiB, free 1.0 GiB; end other programs"),
        (100 * MIB, None, "problem", "free 100.0 MiB"),
        (None, None, "note", "how much is free is unknown"),
    ],
)
def test_memory(monkeypatch, tmp_path, free, limit, level, text):
    (tmp_path / "memory.max").write_text("max" if limit is None else str(limit))
    monkeypatch.setattr(memory, "own_cgroups", lambda: [tmp_path])
    monkeypatch.setattr(memory, "free_bytes", lambda _device, _limit: free)

    found = the_only(memory.check_memory)

    assert found[0] == level
    assert text in found[1]


@pytest.mark.parametrize(("blocks", "level"), [(64, "note"), (2048, "ok")])
def test_shared_memory(monkeypatch, blocks, level):
    monkeypatch.setattr(
        os, "statvfs", lambda _path: SimpleNamespace(f_frsize=MIB, f_blocks=blocks, f_bavail=blocks - 1)
    )

    assert the_only(memory.check_shared_memory)[0] == level


def test_without_shared_memory_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "FOLDER", tmp_path / "none")

    assert the_only(memory.check_shared_memory)[0] == "note"


@pytest.mark.parametrize(
    ("gpus", "has_driver", "levels", "text"),
    [
        (Gpus(("H200", "H200"), "13.0", "2.28"), True, ["ok", "ok"], "GPUs: 2: H200, H200, CUDA 13.0"),
        (Gpus(("H200",), "13.0", None), True, ["ok", "problem"], "NCCL: this torch has none"),
        (Gpus((), None, None), False, ["ok"], "none: training runs on the CPU"),
        (Gpus((), None, None), True, ["note"], "install a torch with CUDA"),
        (Gpus((), "13.0", "2.28"), True, ["problem"], "torch for CUDA 13.0 sees none, though there is a driver"),
    ],
)
def test_gpus_and_nccl(monkeypatch, tmp_path, gpus, has_driver, levels, text):
    monkeypatch.setattr(devices, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(devices, "DRIVER", tmp_path if has_driver else tmp_path / "none")

    found = told(devices.check_gpus)

    assert [level for level, _ in found] == levels
    assert any(text in line for _, line in found)


LO, ETH = Interface("lo", "127.0.0.1", True), Interface("eth0", "10.0.0.5", False)


@pytest.mark.parametrize(
    ("given", "address", "failures", "levels", "text"),
    [
        (None, "10.0.0.5", {}, ["ok", "ok", "ok"], "uses eth0, by the address of this host's name"),
        (None, "127.0.1.1", {}, ["ok", "ok", "note"], "would use lo"),
        (None, None, {}, ["ok", "ok", "note"], "for several hosts set GLOO_SOCKET_IFNAME=eth0"),
        (
            None,
            "10.0.0.5",
            {"eth0": "refused"},
            ["ok", "problem", "ok"],
            "eth0: refused (10.0.0.5); name",
        ),
        (None, "127.0.0.1", {"eth0": "refused"}, ["ok", "note", "note"], "do not name it in GLOO_SOCKET_IFNAME"),
        ("eth0", "127.0.0.1", {}, ["ok", "ok", "ok"], "uses eth0, by GLOO_SOCKET_IFNAME"),
        (
            "eth9",
            None,
            {"eth9": "no such device"},
            ["problem", "ok", "ok", "ok"],
            "eth9: no such device",
        ),
    ],
)
def test_gloo_over_each_interface(monkeypatch, given, address, failures, levels, text):
    monkeypatch.delenv(CHOICE, raising=False)
    if given is not None:
        monkeypatch.setenv(CHOICE, given)
    monkeypatch.setattr(network, "interfaces", lambda: [LO, ETH])
    monkeypatch.setattr(network, "address_of_host", lambda: address)
    monkeypatch.setattr(
        network, "try_interfaces", lambda names, _timeout_s: {name: failures.get(name) for name in names}
    )

    found = told(network.check_gloo)

    assert [level for level, _ in found] == levels
    assert any(text in line for _, line in found)


def test_a_host_with_loopback_alone_is_told_so(monkeypatch):
    monkeypatch.delenv(CHOICE, raising=False)
    monkeypatch.setattr(network, "interfaces", lambda: [LO])
    monkeypatch.setattr(network, "address_of_host", lambda: None)
    monkeypatch.setattr(network, "try_interfaces", lambda names, _timeout_s: dict.fromkeys(names))

    assert told(network.check_gloo)[1] == (
        "note",
        "gloo between hosts: this host has no interface that others could reach",
    )


def test_a_host_whose_processes_cannot_meet_has_a_problem(monkeypatch):
    def fail(_names, _timeout_s):
        raise TrainingError("rank 1 of 2 could not reach the others")

    monkeypatch.setattr(network, "interfaces", lambda: [LO])
    monkeypatch.setattr(network, "try_interfaces", fail)

    assert the_only(network.check_gloo) == (
        "problem",
        "gloo: two processes cannot meet: rank 1 of 2 could not reach the others; check the firewall, also for lo",
    )


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("free", "level"), [(50 * GIB, "ok"), (GIB, "note"), (10 * MIB, "problem")])
def test_disks(monkeypatch, tmp_path, free, level):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECSYS_DIST_CACHE", str(tmp_path / "not/there/yet"))
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(0, 0, free))

    found = told(storage.check_disks)

    assert [one for one, _ in found] == [level] * 3
    assert str(tmp_path / "not/there/yet") in found[2][1]


def test_a_folder_that_cannot_be_written_is_a_problem(monkeypatch):
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)

    assert {level for level, _ in told(storage.check_disks)} == {"problem"}


SECRET = "wJalrXUtnFEMI-never-shown"


@pytest.mark.parametrize("has_botocore", [True, False])
@pytest.mark.parametrize("is_given", [True, False])
def test_credentials_are_found_and_never_told(monkeypatch, tmp_path, has_botocore, is_given):
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    if is_given:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", SECRET)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    if not has_botocore:
        monkeypatch.setitem(sys.modules, "botocore.session", None)
    monkeypatch.setattr(storage, "installed", lambda _name: "2026.1")

    level, line = the_only(storage.check_credentials)

    assert SECRET not in line
    assert (level, "S3 credentials: found (" in line) == ("ok" if is_given else "note", is_given)


def test_credentials_in_the_settings_of_fsspec_are_found(monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "s3", {"key": SECRET, "secret": SECRET})

    assert credentials.source_of_s3_credentials() == "the settings of fsspec"


def test_a_dataset_is_read_and_compared_with_the_memory(monkeypatch, tmp_path):
    dataset = small_dataset(tmp_path / "d")

    assert the_only(storage.check_dataset, dataset.folder.url)[0] == "ok"
    monkeypatch.setattr(storage, "free_bytes", lambda _device, _limit: 10)
    assert the_only(storage.check_dataset, dataset.folder.url)[0] == "note"
    level, line = the_only(storage.check_dataset, str(tmp_path / "none"))
    assert (level, "there is no folder" in line) == ("problem", True)


def test_a_run_folder_is_one_or_can_become_one(tmp_path):
    dataset = small_dataset(tmp_path / "d")

    assert the_only(storage.check_run_dir, str(tmp_path / "new/run"))[0] != "problem"
    assert the_only(storage.check_run_dir, "memory://run")[0] == "ok"
    level, line = the_only(storage.check_run_dir, dataset.folder.url)
    assert (level, "is a prepared dataset; name another folder" in line) == ("problem", True)


def test_the_groups_of_this_process_are_folders_of_the_kernel():
    assert all(folder.is_relative_to(cgroups.CGROUPS) for folder in cgroups.own_cgroups())
