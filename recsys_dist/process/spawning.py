"""Processes of our own that do not run the program which called us.

multiprocessing runs the file of the main program in each process that it starts, so that what is defined there
can be found. Our workers and ranks need nothing of it: a program without `if __name__ == "__main__"` would begin
anew in each of them, and one that came through stdin has no file to run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from typing import Any


@contextmanager
def without_main_program(prefix: str) -> Iterator[None]:
    """Processes named `prefix` and more that any thread starts in the block run nothing but their work."""
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
