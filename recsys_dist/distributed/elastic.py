"""Error reports to the torchrun agent that started this rank."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from recsys_dist.errors import RecsysDistError

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


@contextmanager
def report_errors() -> Iterator[None]:
    """If the body fails under torchrun, write the error to the file that the agent reads, and raise it again.

    Without this, the summary of a failed run says `error_file: <N/A>` and gives no reason. Errors for people are
    written as one line, without a traceback.
    """
    try:
        yield
    except RecsysDistError as error:
        error.__cause__, error.__suppress_context__ = None, True
        _record(error.with_traceback(None))
        raise
    except Exception as error:
        _record(error)
        raise


def _record(error: Exception) -> None:
    if ERROR_FILE in os.environ:
        get_error_handler().record_exception(error)
