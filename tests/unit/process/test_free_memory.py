"""What a rank may still take is bounded by whatever limits it: machine, container, address space, the others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from recsys_dist.process import cgroups, free_memory
from recsys_dist.process.free_memory import free_bytes

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
CPU = torch.device("cpu")


def test_ranks_of_a_machine_share_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_memory, "_free_of_machine", lambda: [1000])
    monkeypatch.setattr(free_memory, "_free_of_cgroups", lambda: [800])
    monkeypatch.setattr(free_memory, "_free_addresses", lambda: [])
    assert free_bytes(CPU, None) == 800
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert free_bytes(CPU, None) == 200
    assert free_bytes(CPU, 100) == 100
    assert free_bytes(CPU, 300) == 200


def test_the_free_memory_of_the_machine_is_known() -> None:
    total = 1024 * int(Path("/proc/meminfo").read_text().split()[1])
    free = free_bytes(CPU, None)
    assert free is not None
    assert 0 < free < total


def test_the_limit_of_a_container_counts_and_files_in_memory_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "max": "5000",
        "current": "3000",
        "stat": "anon 1\ninactive_file 400\nactive_file 50",
    }.items():
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    monkeypatch.setattr(cgroups, "CGROUPS", tmp_path)
    assert free_bytes(CPU, None) == 5000 - 3000 + 450

    (tmp_path / "memory.max").write_text("max\n")
    machine = free_bytes(CPU, None)
    assert machine is not None
    assert machine > 1_000_000, "what the machine has is the only bound left"


WITHIN_A_LIMIT = """
import resource, torch
from recsys_dist.process.free_memory import free_bytes
from pathlib import Path
limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + 50_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
print(free_bytes(torch.device("cpu"), None))
"""


def test_the_limit_of_the_address_space_counts() -> None:
    ended = subprocess.run([sys.executable, "-c", WITHIN_A_LIMIT], capture_output=True, text=True, check=True)
    assert 40_000_000 < int(ended.stdout) <= 50_000_000


def test_a_gpu_has_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7000, 8000 + device.index))
    assert free_bytes(torch.device("cuda", 0), None) == 7000
