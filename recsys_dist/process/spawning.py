"""Child processes that do not import the caller's main program.

multiprocessing runs the file of the main program in each child, so that its definitions can be unpickled. Workers
and ranks do not need them. Without this, a program without `if __name__ == "__main__"` would start again in each
child, and a program from stdin has no file to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from typing import Any


@contextmanager
def without_main_program(prefix: str) -> Iterator[None]:
    """Within the block, new processes whose names start with `prefix` do not import the main program."""
    before = spawn.get_preparation_data

    def preparation_data(name: str) -> dict[str, Any]:
        data = before(name)
        if name.startswith(prefix):
            for key in ("init_main_from_name", "init_main_from_path"):
                data.pop(key, None)
        return data

    spawn.get_preparation_data = preparation_data
    try:
        yield
    finally:
        spawn.get_preparation_data = before
