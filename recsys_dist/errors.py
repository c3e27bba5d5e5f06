"""Errors meant for people.

Each carries one line that says what is wrong, where, and what would be right. The command line prints that
line and exits with code 2; a traceback means a defect of the program, never a mistake of its user.
"""

from __future__ import annotations

import errno
import re


class RecsysDistError(Exception):
    """Base of every error that the command line prints as one line."""


class ConfigError(RecsysDistError):
    """The configuration names an unknown key, a wrong value or an impossible combination."""


class DataError(RecsysDistError):
    """An input file or a prepared dataset cannot be used as it is."""


class BrokenOffError(DataError):
    """The machine ended the work, not the data: a full disk, no memory, dead workers. It can be taken up again."""


class StorageError(DataError, OSError):
    """The storage behind a URL refuses or does not answer: what lies there may be sound."""


class CheckpointError(RecsysDistError):
    """A checkpoint or a model folder is missing, damaged or of another run."""


class TrainingError(RecsysDistError):
    """Training cannot go on: numbers that are not finite, ranks that disagree, a peer that is gone."""


class PeerError(TrainingError):
    """Other ranks are gone, cut off or stopped. Those that are left cannot agree on who tells it: each does."""


def refusal(error: OSError) -> str:
    """What the operating system refuses, behind the file that it is about."""
    return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)


def lack_of_memory(error: BaseException) -> str | None:
    """What to say of an allocation that failed; None where `error` is something else.

    Tensor libraries raise RuntimeErrors in place of a MemoryError, and files are mapped with OSErrors.
    """
    text = str(error)
    is_lack = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if not is_lack and isinstance(error, RuntimeError):
        is_lack = re.search("can't allocate memory|out of memory|bad_alloc", text) is not None
    if not is_lack:
        return None
    size = re.search(r"[Tt]ried to allocate ([\d.]+) (\w+)", text)
    if size is None:
        return "out of memory"
    size_text = f"{int(size[1]) / 1e6:,.0f} MB" if size[2] == "bytes" else f"{size[1]} {size[2]}"
    return f"out of memory (no room for {size_text} more)"
