"""What a rank tells the torchrun agent that started it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing.errors import get_error_handler

from recsys_dist.errors import RecsysDistError

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"


@contextmanager
def report_errors() -> Iterator[None]:
    """Where the body fails under torchrun, leave the error where the agent's summary finds it; then go on failing.

    Without it the summary of a failed run says `error_file: <N/A>` and names no reason. An error meant for people
    is left as its one line, without the calls that led to it.
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
