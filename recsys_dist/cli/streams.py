"""stdout and stderr of a command, which survive unencodable text and closed pipes.

Characters that a stream cannot encode are escaped. Text for a pipe without a reader is dropped: the exit code
depends on the work of the command, not on whether `head` has read all of its output.
"""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from recsys_dist.errors import BrokenOffError
from recsys_dist.plain_text import printable


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Make stdout, stderr and warnings on stderr behave this way in the block."""
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            # None if the process was started with a closed stream.
            before = getattr(sys, name)
            stream = before or stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(_escaping(stream))
            stack.callback(setattr, sys, name, before)
            setattr(sys, name, LastingStream(stream, must_arrive=name == "stdout"))
        stack.enter_context(_plain_warnings())
        yield


class LastingStream:
    """A text stream that outlives its reader.

    With `must_arrive`, raises `BrokenOffError` if text is lost for another reason, such as a full disk.
    """

    def __init__(self, stream: IO[str], must_arrive: bool) -> None:
        self._stream = stream
        self._must_arrive = must_arrive

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._stream, attribute)

    def write(self, text: str) -> int:
        """Write the text, or drop it if the reader is gone."""
        with self._guarded():
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush buffered text, or drop it if the reader is gone."""
        with self._guarded():
            self._stream.flush()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            self._discard()
        except OSError as error:
            self._discard()
            if self._must_arrive:
                raise BrokenOffError(f"cannot write to standard output: {error.strerror or error}") from error

    def _discard(self) -> None:
        """Redirect the stream to the null device, so that buffered text does not fail again at exit."""
        with suppress(OSError, io.UnsupportedOperation):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def _escaping(stream: Any) -> Iterator[None]:
    if not isinstance(stream, io.TextIOWrapper):
        yield
        return
    before = stream.errors
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        with suppress(OSError):
            stream.reconfigure(errors=before)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Make warnings without a logging handler, such as the program's own, printable."""
    handler = logging.lastResort
    if handler is None:
        yield
        return
    before = handler.formatter
    handler.setFormatter(_PrintableFormatter())
    try:
        yield
    finally:
        handler.setFormatter(before)


class _PrintableFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))
