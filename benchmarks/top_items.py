"""The ten best items of every user, by this program and by implicit from the same factors. It asserts nothing.

    python -m benchmarks.top_items WORK_DIR MODEL ... [--runs 3]

MODEL is a folder that `recsys-dist merge` has written, of either kind of model. implicit scores by the product of
two vectors alone, so a bias becomes one entry more. Both leave out what a user has rated, in float32 on all cores,
in turns, each in a process of its own. Timed is what makes the lists: of implicit its `recommend`, by blocks of
users, which ends with two arrays; of this program what `recommend --all-users` does once the model is open, which
also predicts each rating and writes a Parquet file with the ids as they were read. Loading is not timed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from benchmarks.commands import run
from benchmarks.environments import set_up, version_of
from recsys_dist.api.model import Model, load_model
from recsys_dist.dataset.manifest import SIDES
from recsys_dist.families.bilinear.factors import load_factors
from recsys_dist.inference.all_users import write_all_lists
from recsys_dist.inference.criterion import RankingCriterion
from recsys_dist.process.heap import keep_freed_memory

NUM_ITEMS = 10
IMPLICIT = """
import json
import os
import sys
import time

# As implicit itself asks for: its own threads share out the blocks.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy import sparse

folder, num_items, block = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
arrays = np.load(f"{folder}/factors.npz")
users, items = arrays["users"], arrays["items"]
seen = sparse.csr_matrix(
    (np.ones(len(arrays["indices"]), np.float32), arrays["indices"], arrays["indptr"]),
    shape=(len(users), len(items)),
)
model = AlternatingLeastSquares(factors=users.shape[1])
model.user_factors, model.item_factors = users, items
lists = np.empty((len(users), num_items), np.int32)
start = time.perf_counter()
for first in range(0, len(users), block):
    rows = np.arange(first, min(first + block, len(users)))
    lists[rows], _ = model.recommend(rows, seen[rows], N=num_items)
seconds = time.perf_counter() - start
np.save(f"{folder}/lists.npy", lists)
print(json.dumps(seconds))
"""
BLOCKS = (1000, 10_000)
"""Users that implicit is asked for at once; the faster counts."""


def export(model: Model, folder: Path) -> int:
    """Factors with their biases, and what the users have rated, as implicit takes them; returns K."""
    num_users, num_items = len(model.user_ids), len(model.item_ids)
    users, items = (load_factors(model.folder, side, torch.device("cpu")) for side in SIDES)
    position, item = model.catalog.train_ratings.of_users(np.arange(num_users))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        folder / "factors.npz",
        users=np.hstack([users.vector_RK[:num_users].numpy(), np.ones((num_users, 1), np.float32)]),
        items=np.hstack([items.vector_RK[:num_items].numpy(), items.bias_R[:num_items].numpy()[:, None]]),
        indptr=np.searchsorted(position, np.arange(num_users + 1)),
        indices=item.astype(np.int32),
    )
    return items.width


def ours(model_dir: str, output: Path) -> float:
    """Seconds of all lists."""
    keep_freed_memory()
    model = load_model(model_dir)
    start = time.perf_counter()
    write_all_lists(model.predictor, output, NUM_ITEMS, False, RankingCriterion(), lambda *_: None)
    return time.perf_counter() - start


def apart(model_dir: str, output: Path) -> float:
    """The same in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(ours, (model_dir, output))


def theirs(python: Path, script: Path, folder: Path) -> dict[int, float]:
    """Seconds of implicit by the users that it is asked for at once."""
    return {
        block: float(run(python, script, folder, str(NUM_ITEMS), str(block)).output.splitlines()[-1])
        for block in BLOCKS
    }


def shared_items(model: Model, output: Path, lists: Path) -> float:
    """The share of items that stand in the lists of both programs."""
    table = pq.read_table(output)
    user, item = (
        ids.find(table.column(name).combine_chunks())
        for ids, name in ((model.user_ids, "user_id"), (model.item_ids, "item_id"))
    )
    width = len(model.item_ids)
    other = (np.arange(len(model.user_ids))[:, None] * width + np.load(lists)).ravel()
    return float(np.isin(user * width + item, other).mean())


def faster_block(seconds: list[dict[int, float]]) -> int:
    """How many users at once implicit is asked for, for it to be fastest."""
    return min(BLOCKS, key=lambda block: statistics.median(one[block] for one in seconds))


def compare(model_dir: Path, work: Path, runs: int) -> dict[str, Any]:
    """One model by both programs, in turns."""
    python, script, folder = set_up("implicit", work), work / "top_items_implicit.py", work / "top-items"
    script.write_text(IMPLICIT)
    model = load_model(str(model_dir))
    export(model, folder)
    own: list[float] = []
    other: list[dict[int, float]] = []
    for _ in range(runs):
        own.append(apart(str(model_dir), folder / "lists.parquet"))
        other.append(theirs(python, script, folder))
    block = faster_block(other)
    seconds = (statistics.median(own), statistics.median(one[block] for one in other))
    num_users = len(model.user_ids)
    print(f"{model_dir}: {num_users:,} users x {len(model.item_ids):,} items")
    names = ("recsys-dist", f"implicit {version_of('implicit')}, {block:,} users at once")
    for name, one in zip(names, seconds, strict=True):
        print(f"  {num_users / one:,.0f} users a second ({one:.1f} s): {name}")
    shared = shared_items(model, folder / "lists.parquet", folder / "lists.npy")
    print(
        f"  implicit takes {seconds[1] / seconds[0]:.2f} times as long; both name the same {shared:.3%} of items"
    )
    return {"model": str(model_dir), "recsys-dist": own, "implicit": other}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    measured = [compare(model.resolve(), work, arguments.runs) for model in arguments.models]
    (work / "top-items.json").write_text(
        json.dumps({"machine": platform.processor(), "models": measured}, indent=1)
    )


if __name__ == "__main__":
    main()
