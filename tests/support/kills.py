"""A process that dies at one of its file operations, as by a power cut or the kernel's out-of-memory killer."""

from __future__ import annotations

import os
import signal
import sys

FILE_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.listdir", "os.scandir"}


def kill_at(operation: int) -> None:
    """From now on, SIGKILL this process at its file operation of that number, counted from 0, in any thread."""
    seen = 0

    def hook(event: str, _arguments: object) -> None:
        nonlocal seen
        if event in FILE_EVENTS:
            if seen == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            seen += 1

    sys.addaudithook(hook)
