"""What a tracker keeps in the run folder to find its run again: RUN_DIR/TRACKER.json."""

from __future__ import annotations

import json
from typing import Any

from recsys_dist.errors import DataError
from recsys_dist.storage.folder import Folder


def read(folder: Folder, tracker: str) -> dict[str, Any]:
    """What was kept; empty if nothing was, or if it is damaged."""
    try:
        kept: Any = json.loads(folder.read_bytes(f"{tracker}.json")) if folder.exists(f"{tracker}.json") else {}
    except (DataError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def keep(folder: Folder, tracker: str, facts: dict[str, Any]) -> None:
    """Keep facts about the run of a tracker, such as its id."""
    folder.write_bytes(f"{tracker}.json", (json.dumps(facts) + "\n").encode())
