"""A preparation without a cluster: in the process that calls it, in milliseconds where Dask takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from recsys_dist.preparation.cluster.cluster import NOTHING, _guarded, _result


class CallingProcess:
    """Runs the tasks of a preparation where it is called, in place of a Dask cluster."""

    def run(
        self,
        stage: str,
        task: Callable[..., Any],
        calls: Sequence[tuple[Any, ...]],
        subjects: Sequence[str],
        num_rows: Callable[[Any], int] = lambda _result: 0,
        before: Any = NOTHING,
    ) -> list[Any]:
        del num_rows, before
        return [
            _result(SimpleNamespace(result=lambda call=call: _guarded(task, *call)), stage, subject)
            for call, subject in zip(calls, subjects, strict=True)
        ]


@contextmanager
def no_cluster(*_arguments: Any) -> Iterator[CallingProcess]:
    yield CallingProcess()
