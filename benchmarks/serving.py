"""Latency of `recsys-dist serve` under a steady stream of requests, also while a model is loaded anew.

    python -m benchmarks.serving MODEL_DIR --rate 200 --seconds 20 --runs 3

Requests arrive at random moments (Poisson), whether or not earlier ones have been answered, and a time counts from
the moment of arrival, so that a stall of the service is seen by every request that arrives meanwhile. A run takes
in turns

    floor       /health, which asks no model: what the machine, the client and HTTP take
    lists       /recommend of ten items for one user
    reload      the same while SIGHUP loads the model anew, again and again

and prints the median, the 99th percentile and the longest time, the CPU time of the service for one request (which
other programs on the machine hardly change), and the number of errors. Exit code 1 if a request
failed, or if the best 99th percentile of `lists` is above the bar of 20 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil

from benchmarks.commands import ROOT
from recsys_dist.api.model import load_model

BAR_S = 0.020
RATE, SECONDS, RUNS = 200.0, 20.0, 3
CONNECTIONS = 64
START_S = 120.0
RELOAD_EVERY_S = 3.0


@dataclass
class Times:
    """Seconds of the answered requests, and what failed."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    cpu_seconds: float = 0.0
    """Of the service, while it answered."""

    def at(self, share: float) -> float:
        """The time that this share of the requests stays below."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def row(self, name: str) -> str:
        """A line of the table."""
        figures = " ".join(
            f"{1000 * value:8.1f}"
            for value in (self.at(0.5), self.at(0.99), max(self.seconds), self.cpu_seconds / len(self.seconds))
        )
        return f"{name:8} {len(self.seconds):8} {figures} {len(self.errors):7}"


class Connections:
    """Connections of HTTP/1.1 that are used again. Another client would take the cores that are measured."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._most = asyncio.Semaphore(CONNECTIONS)

    async def send(self, request: bytes) -> int:
        """Send a request and read its answer; returns the status code."""
        async with self._most:
            reader, writer = (
                self._free.pop() if self._free else await asyncio.open_connection(self._host, self._port)
            )
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split()[0])
            await reader.readexactly(length)
            self._free.append((reader, writer))
        return int(head.split()[1])

    def close(self) -> None:
        """Close all connections."""
        for _, writer in self._free:
            writer.close()


async def offer(url: str, requests: list[bytes], rate: float, seconds: float, seed: int) -> Times:
    """Send requests at random moments, `rate` a second, and wait for all answers."""
    place, times, rng = urlsplit(url), Times(), random.Random(seed)
    connections = Connections(str(place.hostname), int(place.port or 80))

    async def one(request: bytes, due: float) -> None:
        try:
            status = await connections.send(request)
        except (OSError, asyncio.IncompleteReadError) as error:
            times.errors.append(repr(error))
            return
        times.seconds.append(time.perf_counter() - due)
        if status != 200:
            times.errors.append(f"status {status}")

    due, stop, tasks = time.perf_counter(), time.perf_counter() + seconds, []
    while (due := due + rng.expovariate(rate)) < stop:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(rng.choice(requests), due)))
    await asyncio.gather(*tasks)
    connections.close()
    return times


async def offer_beside_reloads(process: subprocess.Popen[str], offered: asyncio.Future[Times]) -> Times:
    """Ask for reloads until the requests are answered."""
    while not offered.done():
        process.send_signal(signal.SIGHUP)
        await asyncio.wait([offered], timeout=RELOAD_EVERY_S)
    return await offered


@contextmanager
def service(model_dir: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The running service and its address."""
    command = [sys.executable, "-m", "recsys_dist", "serve", model_dir, "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline() if ready else ""
        if not line:
            raise SystemExit("the service has not started")
        print(line.strip(), flush=True)
        yield process, line.split()[-1]
    finally:
        process.terminate()
        process.wait()


def questions(model_dir: str) -> list[bytes]:
    """A request for the list of each of 1,000 users."""
    bodies = [json.dumps({"user_ids": [user], "n": 10}).encode() for user in load_model(model_dir).user_ids[:1000]]
    head = "POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    return [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]


def cpu_seconds(process: subprocess.Popen[str]) -> float:
    """CPU time of the service since its start."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def reloads(url: str) -> int:
    """How many reloads the service has made."""
    with urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    return int(text.partition('reloads_total{outcome="ok"} ')[2].split()[0])


@dataclass(frozen=True)
class Served:
    """What the service was asked for in turns, with the times of each run; and the reloads that it made."""

    times: dict[str, list[Times]]
    reloads: int


def measure(model_dir: str, rate: float, seconds: float, runs: int) -> Served:
    """Start the service, ask it, print a line for each run."""
    lists, floor = questions(model_dir), [b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    found: dict[str, list[Times]] = {"floor": [], "lists": [], "reload": []}
    with service(model_dir) as (process, url):
        print(f"{'':8} {'requests':>8} {'p50 ms':>8} {'p99 ms':>8} {'max ms':>8} {'CPU ms':>8} {'errors':>7}")
        for run in range(runs):
            for name, all_times in found.items():
                stream = offer(url, floor if name == "floor" else lists, rate, seconds, run)
                before = cpu_seconds(process)
                all_times.append(asyncio.run(_with_reloads(process, stream) if name == "reload" else stream))
                all_times[-1].cpu_seconds = cpu_seconds(process) - before
                print(all_times[-1].row(name), flush=True)
        return Served(found, reloads(url))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model_dir")
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--runs", type=int, default=RUNS)
    options = parser.parse_args()
    served = measure(options.model_dir, options.rate, options.seconds, options.runs)
    print(f"{served.reloads} reloads; load of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    errors = [error for all_times in served.times.values() for times in all_times for error in times.errors]
    best = min(times.at(0.99) for times in served.times["lists"])
    print(f"best p99 of lists: {1000 * best:.1f} ms; errors: {len(errors)} {sorted(set(errors))[:3]}")
    sys.exit(bool(errors) or best > BAR_S)


async def _with_reloads(process: subprocess.Popen[str], stream) -> Times:
    return await offer_beside_reloads(process, asyncio.ensure_future(stream))


if __name__ == "__main__":
    main()
