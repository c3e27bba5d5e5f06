"""The end of a search for faults, as text: how many trials, and each kind of fault with its first example."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fuzz.trials import Fault

Trials = Callable[[Path, int, int, float], Iterator[Fault | None]]


def report_faults(trials: Trials) -> None:
    """Run the trials that the command line asks for; exit code 1 where there was a fault."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--deadline", type=float, default=10.0, help="seconds that one command may take")
    options = parser.parse_args()
    start, kinds, count = time.monotonic(), dict[str, list[Fault]](), 0
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RECSYS_DIST_CACHE"] = f"{folder}/cache"
        for fault in trials(Path(folder), options.count, options.seed, options.deadline):
            count += 1
            if fault is not None:
                kinds.setdefault(fault.kind, []).append(fault)
                print(f"{fault.trial}: {fault.kind}", flush=True)
    num_faults = sum(map(len, kinds.values()))
    for kind, faults in sorted(kinds.items(), key=lambda counted: -len(counted[1])):
        print(f"\n{len(faults)} times: {kind}\nfirst: {faults[0].trial}\n{faults[0].output[-3000:]}")
    print(f"\n{count} trials in {time.monotonic() - start:.0f} s, seed {options.seed}: {num_faults} faults")
    sys.exit(bool(num_faults))
