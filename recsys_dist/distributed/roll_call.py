"""Who is missing after a collective failed: the backend's error names an address or nothing at all.

Each rank that meets the failure signs in at the rendezvous store; one that was killed or stopped does not.
"""

from __future__ import annotations

import datetime

from torch.distributed import distributed_c10d

WAIT = datetime.timedelta(seconds=2)


def silent_ranks(rank: int, world_size: int) -> list[int]:
    """The ranks that did not sign in within `WAIT` of this one; empty where the store itself is gone."""
    try:
        store = distributed_c10d._get_default_store()
        names = [f"recsys_dist/failed/{number}" for number in range(world_size)]
        store.set(names[rank], "")
        try:
            store.wait(names, WAIT)
        except RuntimeError:
            return [number for number, name in enumerate(names) if not store.check([name])]
    except (RuntimeError, ValueError):
        pass
    return []
