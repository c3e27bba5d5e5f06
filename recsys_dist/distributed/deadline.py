"""Calls that may never come back, under a deadline of the caller's own.

torch's store client waits for its server's answer without a limit. A call that has a timeout tells the server when
it is over, and waits without a limit for the server to take note. Where the server's host has lost its network or
is stopped, no answer ever comes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

ResultT = TypeVar("ResultT")


def within(limit_s: float, call: Callable[[], ResultT]) -> ResultT:
    """What `call` returns or raises; `TimeoutError` where it has not ended after `limit_s` seconds.

    It runs on a thread of its own. One that does not end keeps that thread, which does not keep the process.
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
