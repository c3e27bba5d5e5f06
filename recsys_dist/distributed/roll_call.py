"""Names the missing ranks after a failed collective; the backend's error names an address at best.

Each rank that sees the failure signs in at the rendezvous store; a rank that was killed, stopped or cut off does
not. If the store itself does not answer, its host is missing, or this rank is cut off.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

# Store is a public name that torch's annotations leave out.
from torch.distributed import Store, distributed_c10d  # type: ignore[attr-defined]

from recsys_dist.distributed.deadline import within
from recsys_dist.distributed.world import World
from recsys_dist.errors import PeerError, lack_of_memory

WAIT_S = 2.0
"""Time for the others to sign in."""
ANSWER_S = 6.0
"""Time for the store to answer, including `WAIT_S`."""
NO_NEWS = (r"^\[/\S+:\d+\] ", r" This is typically caused by a remote worker.*")
"""Parts of gloo's messages without information: source locations and generic advice."""


@contextmanager
def explained(doing: str, world: World) -> Iterator[None]:
    """If a collective in the body fails, raise a `PeerError` that names this rank and the missing ones."""
    try:
        yield
    except (RuntimeError, TimeoutError) as error:
        if world.size == 1 or lack_of_memory(error) is not None:
            raise
        missing = _missing(world)
        raise PeerError(
            f"rank {world.rank} of {world.size}: {doing} failed: {missing}{one_line(error)}"
        ) from error


def one_line(error: Exception) -> str:
    """The backend's message in one line, without uninformative parts."""
    text = " ".join(str(error).split())
    for pattern in NO_NEWS:
        text = re.sub(pattern, "", text)
    return text[:300]


def _missing(world: World) -> str:
    try:
        store = distributed_c10d._get_default_store()
        silent = within(ANSWER_S, partial(_silent_ranks, store, world))
    except TimeoutError:
        return f"no answer from the rendezvous at {_meeting_place()}: "
    except (RuntimeError, ValueError):
        # The store is gone with its process; the error message already reports that.
        return ""
    return f"no response from rank {', '.join(map(str, silent))}: " if silent else ""


def _silent_ranks(store: Store, world: World) -> list[int]:
    """The ranks that did not sign in within `WAIT_S` seconds of this one."""
    names = [f"recsys_dist/failed/{number}" for number in range(world.size)]
    store.set(names[world.rank], "")
    try:
        store.wait(names, datetime.timedelta(seconds=WAIT_S))
    except RuntimeError:
        return [number for number, name in enumerate(names) if not store.check([name])]
    return []


def _meeting_place() -> str:
    """The address that torchrun passes to its ranks."""
    address = os.environ.get("MASTER_ADDR")
    return f"{address}:{os.environ.get('MASTER_PORT', '')}" if address else "the store"
