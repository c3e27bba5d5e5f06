"""Runs each task of a preparation once: results are recorded beside the task's scratch files.

    scratch/003-00017.done    the result of task 17 of the fourth call of `run`, written when the task is done

The calls of a preparation depend only on its input and settings (preparation/attempt.py), so their numbers are the
same in every run. A resumed preparation reads the recorded results and runs the remaining tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.cluster.cluster import Before, Cluster
from recsys_dist.preparation.tasks.results import from_json, to_json

DONE = ".done"


class Journal:
    """Runs the stages of one preparation."""

    def __init__(self, cluster: Cluster, scratch: Scratch) -> None:
        self._cluster = cluster
        self._scratch = scratch
        self._done = done_tasks(scratch)
        self._num_stages = 0

    def run(
        self,
        stage: str,
        task: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        subjects: Sequence[str],
        num_rows: Callable[[Any], int] = lambda _result: 0,
    ) -> list[Any]:
        """The results of `task` for each of `calls`, in order; see `Cluster.run`.

        `num_rows` gives the number of rows in a result, for the progress display.
        """
        names = [f"{self._num_stages:03d}-{place:05d}{DONE}" for place in range(len(calls))]
        self._num_stages += 1
        results = {
            place: from_json(self._scratch.load_json(name))
            for place, name in enumerate(names)
            if name in self._done
        }
        left = [place for place in range(len(calls)) if place not in results]
        before = Before(len(results), sum(num_rows(result) for result in results.values()))
        noted = [(self._scratch.folder.url, names[place], task, *calls[place]) for place in left]
        found = self._cluster.run(stage, _noted, noted, [subjects[place] for place in left], num_rows, before)
        results.update(zip(left, found, strict=True))
        return [results[place] for place in range(len(calls))]


def _noted(scratch_url: str, name: str, task: Callable[..., Any], *arguments: Any) -> Any:
    result = task(*arguments)
    Scratch(scratch_url).save_json(name, to_json(result))
    return result


def done_tasks(scratch: Scratch) -> set[str]:
    """The names of the recorded results."""
    return {name for name in scratch.folder.names() if name.endswith(DONE) and not name.startswith(".")}
