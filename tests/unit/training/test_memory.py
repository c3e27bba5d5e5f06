import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
from recsys_dist.process.heap import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for step in range(6):
    if step == 1:  # the first step takes its memory from the kernel in any case
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    b"x" * (64_000_000 + step)  # not a constant to the compiler
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="concerns the heap of glibc")
def test_a_freed_buffer_is_used_again_without_page_faults() -> None:
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", STEPS, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "default")
    }

    assert faults["keep"] < faults["default"] / 10, faults
