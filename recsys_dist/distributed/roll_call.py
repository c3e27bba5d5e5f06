"""What a rank says of a collective that failed: the backend's error names an address or nothing at all.

Each rank that meets the failure signs in at the store where the ranks met; one that was killed, stopped or cut off
does not. Where the store itself gives no answer, its host is the one that is missing, or this one is cut off.
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
"""For the others to sign in."""
ANSWER_S = 6.0
"""For the store to tell who has, the wait for the others included."""
NO_NEWS = (r"^\[/\S+:\d+\] ", r" This is typically caused by a remote worker.*")
"""Where in gloo's sources the error arose, and where it suggests to look."""


@contextmanager
def explained(doing: str, world: World) -> Iterator[None]:
    """Where a collective of the body fails, raise a `PeerError` that names this rank and those missing."""
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
    """What the backend says, in one line and without what helps nobody."""
    text = " ".join(str(error).split())
    for pattern in NO_NEWS:
        text = re.sub(pattern, "", text)
    return text[:300]


def _missing(world: World) -> str:
    try:
        store = distributed_c10d._get_default_store()
        silent = within(ANSWER_S, partial(_silent_ranks, store, world))
    except TimeoutError:
        return f"no answer from {_meeting_place()}, where the ranks met: "
    except (RuntimeError, ValueError):
        # The store went with its process, whose end is the news.
        return ""
    return f"no word from rank {', '.join(map(str, silent))}: " if silent else ""


def _silent_ranks(store: Store, world: World) -> list[int]:
    """The ranks that did not sign in within `WAIT_S` of this one."""
    names = [f"recsys_dist/failed/{number}" for number in range(world.size)]
    store.set(names[world.rank], "")
    try:
        store.wait(names, datetime.timedelta(seconds=WAIT_S))
    except RuntimeError:
        return [number for number, name in enumerate(names) if not store.check([name])]
    return []


def _meeting_place() -> str:
    """As torchrun tells it to its ranks."""
    address = os.environ.get("MASTER_ADDR")
    return f"{address}:{os.environ.get('MASTER_PORT', '')}" if address else "the store"
