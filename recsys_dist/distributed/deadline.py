"""A deadline for calls that may never return.

torch's store client waits for an answer of its server without a limit. Even a call with a timeout only tells the
server that the time is over, and then waits for the acknowledgement. If the server's host is stopped or has lost
its network, no answer ever comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

ResultT = TypeVar("ResultT")


def within(limit_s: float, call: Callable[[], ResultT]) -> ResultT:
    """Run `call` and return its result; raise `TimeoutError` if it takes more than `limit_s` seconds.

    The call runs in a daemon thread. If it never ends, the thread stays, but does not keep the process alive.
    """
    outcome: Future[ResultT] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    threading.Thread(target=run, name="call with a deadline", daemon=True).start()
    try:
        return outcome.result(limit_s)
    except TimeoutError:
        if outcome.done():
            raise
        raise TimeoutError(f"no answer within {limit_s:g} s") from None
