"""Counters and histograms of the service, in the text format of Prometheus."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
REQUESTS = (1, 2, 4, 8, 16, 32)
OTHER = "other"
"""The path of requests that no route answers: paths of clients must not become labels."""


class Histogram:
    """Counts of values up to each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, label: str = "") -> Iterator[str]:
        """The series of the histogram; `label` is `key="value"` or empty."""
        total, before = 0, f"{label}," if label else ""
        for bound, count in zip([*map(str, self._bounds), "+Inf"], self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{before}le="{bound}"}} {total}'
        mine = f"{{{label}}}" if label else ""
        yield f"{name}_sum{mine} {self._sum:.6f}"
        yield f"{name}_count{mine} {total}"


class Metrics:
    """What the service has done since its start; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers: Counter[tuple[str, int]] = Counter()
        self._seconds: dict[str, Histogram] = {}
        self._batches = Histogram(REQUESTS)
        self._reloads: Counter[str] = Counter(ok=0, failed=0)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self._answers[path, status] += 1
            self._seconds.setdefault(path, Histogram(SECONDS)).add(seconds)

    def batched(self, num_requests: int) -> None:
        """Count a batch of requests."""
        with self._lock:
            self._batches.add(num_requests)

    def reloaded(self, is_ok: bool) -> None:
        """Count a reload."""
        with self._lock:
            self._reloads["ok" if is_ok else "failed"] += 1

    def text(self, num_waiting: int, kind: str, digest: str) -> str:
        """All series, beside the number of waiting requests and the model."""
        with self._lock:
            return "\n".join([*self._lines(num_waiting, kind, digest), ""])

    def _lines(self, num_waiting: int, kind: str, digest: str) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Answers by path and status code.")
        for (path, status), count in sorted(self._answers.items()):
            yield f'recsys_dist_requests_total{{path="{path}",status="{status}"}} {count}'
        yield from _head("request_seconds", "histogram", "Time from a request to its answer.")
        for path, histogram in sorted(self._seconds.items()):
            yield from histogram.lines("recsys_dist_request_seconds", f'path="{path}"')
        yield from _head("batch_requests", "histogram", "Requests that the model answers together.")
        yield from self._batches.lines("recsys_dist_batch_requests")
        yield from _head("waiting_requests", "gauge", "Requests that wait for a batch.")
        yield f"recsys_dist_waiting_requests {num_waiting}"
        yield from _head("reloads_total", "counter", "Reloads of the model by outcome.")
        for outcome, count in self._reloads.items():
            yield f'recsys_dist_reloads_total{{outcome="{outcome}"}} {count}'
        yield from _head("model_info", "gauge", "The model that answers.")
        yield f'recsys_dist_model_info{{kind="{kind}",digest="{digest}"}} 1'


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP recsys_dist_{name} {meaning}"
    yield f"# TYPE recsys_dist_{name} {kind}"


class Measured:
    """ASGI middleware that counts answers and their times."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            path = getattr(scope.get("route"), "path", OTHER)
            self._metrics.answered(path, status, time.perf_counter() - started)
