"""Errors shown to people.

Each carries one line that says what is wrong, where, and what would be right. The command line prints that
line and exits with code 2; a traceback means a bug in the program, never a mistake of its user.
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
    """The machine, not the data, ended the work: a full disk, no memory, dead workers. It can be resumed."""


class StorageError(DataError, OSError):
    """The storage behind a URL refuses or does not answer; its files may be intact."""


class CheckpointError(RecsysDistError):
    """A checkpoint or a model folder is missing, damaged or from another run."""


class TrainingError(RecsysDistError):
    """Training cannot continue: numbers that are not finite, ranks that disagree, a lost peer."""


class SharedError(TrainingError):
    """A failure that every rank raises at the same point: collectives still work."""


class PeerError(TrainingError):
    """Other ranks are gone, cut off or stopped. The remaining ranks cannot agree on a reporter: each reports."""


def refusal(error: OSError) -> str:
    """An error of the operating system as one line: the file, then the reason."""
    return ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)


def lack_of_memory(error: BaseException) -> str | None:
    """One line about a failed allocation; None for any other error.

    Tensor libraries raise RuntimeError instead of MemoryError, and mapping a file raises OSError.
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
