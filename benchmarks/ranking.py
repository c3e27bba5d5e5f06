"""Lists and ratings of every shipped model and of blends, as shipped, beside other programs. It asserts nothing.

    python -m benchmarks.ranking WORK_DIR [--sets ml-1m,ml-100k,movietweetings] [--seeds 0,1,2,3,4]

For each split: prepare, train each model in one process with all cores, merge, blend the models that rank (`blend
--for lists`) and those that predict ratings (`--for ratings`), evaluate. No setting is given but the seed of the
split and of the training. The test split is read by `evaluate` alone. ml-100k has its five folds: seed 0 is u1.

Opponents train on the same train ratings, in the same run: implicit's ALS, with the best of six settings on ML-1M,
and EASE as ten lines of NumPy with the settings of the literature. Both learn from the liked pairs, those of at
least the train mean, and are judged by the same lists: all items that a user has not rated in training; relevant
are held-out ratings of at least the train mean. Seconds are wall-clock, of a training command as a whole or, for
the opponents, of the training alone; "until it is as good" are those of the epochs, the first with its search.

The table goes to the screen, and with all raw figures to WORK_DIR/ranking.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse

import recsys_dist
from benchmarks.commands import BIN, ROOT, epoch_seconds, prepare, run, train
from benchmarks.environments import UnavailableError, set_up, version_of
from benchmarks.exported import columns
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.inference.top import best_items
from recsys_dist.metrics import METRICS, list_metrics

RATINGS, LISTS = ("mf", "autorec_item"), ("ease", "ials", "mf")
TRAINED = ("mf", "autorec_item", "ials", "ease")
TOP = 10
EASE_LAMBDA = 500.0
IMPLICIT = """
import json, os, sys, time
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np
from implicit.als import AlternatingLeastSquares
from scipy import sparse

folder, epochs = sys.argv[1], int(sys.argv[2])
arrays = np.load(f"{folder}/liked.npz")
liked = sparse.csr_matrix((arrays["values"], arrays["indices"], arrays["indptr"]), shape=tuple(arrays["shape"]))
model = AlternatingLeastSquares(
    factors=64, alpha=5, regularization=0.1, iterations=epochs, num_threads=2, random_state=0, use_gpu=False
)
start = time.perf_counter()
model.fit(liked, show_progress=False)
seconds = time.perf_counter() - start
np.savez(f"{folder}/factors.npz", users=model.user_factors, items=model.item_factors)
print(json.dumps(seconds))
"""
IMPLICIT_EPOCHS = (5, 10, 15)
Row = dict[str, Any]


@dataclass(frozen=True)
class Split:
    """A data set with the seed of its split, which is that of the trainings too."""

    data: str
    config: str
    overrides: tuple[str, ...]
    seed: int

    @property
    def name(self) -> str:
        """For files."""
        return f"{self.data}-{self.seed}"


def split_of(data: str, folder: Path, seed: int) -> Split:
    """The split of a data set: random 90/10 without validation ratings, a fixed fold, or that of the demo."""
    demo, fixed, million = ROOT / "tests" / "data" / "movietweetings", folder / "ml-100k", folder / "ml-1m"
    config, paths = {
        "ml-1m": (
            "prepare_ml1m",
            (
                f"input.paths={million}/ratings.dat.gz",
                f"items.paths={million}/movies.dat",
                "split.valid=0",
            ),
        ),
        "ml-100k": (
            "prepare_ml100k_u1",
            (
                f"split.train={fixed}/u{seed + 1}.base.gz",
                f"split.test={fixed}/u{seed + 1}.test.gz",
                f"items.paths={fixed}/u.item.gz",
            ),
        ),
        "movietweetings": (
            "prepare_movietweetings",
            (f"input.paths={demo}/ratings.dat.gz", f"items.paths={demo}/movies.dat.gz"),
        ),
    }[data]
    drawn = () if data == "ml-100k" else (f"split.seed={seed}",)
    return Split(data, config, (*paths, *drawn), seed)


SAVING = {"ials": ("checkpoint.every=1", "checkpoint.keep=100")}
"""Every epoch of ials is judged, see `as_good_as`."""


def measure(split: Split, work: Path, configs: Sequence[str] = TRAINED) -> list[Row]:
    """Every model, both blends and the opponents on one split."""
    dataset = work / split.name
    prepare(split.config, dataset, *split.overrides)
    models, rows = dict[str, Path](), []
    for config in configs:
        run_dir = work / f"{split.name}-{config}"
        finished = train(config, dataset, run_dir, 1, f"seed={split.seed}", *SAVING.get(config, ()))
        models[config] = run_dir / "model"
        run(BIN / "recsys-dist", "merge", run_dir, "--output", models[config])
        costs = {"seconds": finished.seconds, "peak_mb": finished.peak_bytes[0] / 1e6}
        rows.append({"model": config, **costs, **judged(models[config], dataset)})
    for goal, parts in {"lists": LISTS, "ratings": RATINGS}.items():
        output = work / f"{split.name}-blend-{goal}"
        shutil.rmtree(output, ignore_errors=True)
        chosen: list[Path] = [models[part] for part in parts]
        options: list[str | Path] = ["--dataset", dataset, "--output", output, "--for", goal]
        seconds = run(BIN / "recsys-dist", "blend", *chosen, *options).seconds
        rows.append({"model": f"blend for {goal}", "seconds": seconds, **judged(output, dataset)})
    others = opponents(Dataset.open(str(dataset)), work)
    if any("ALS" in row["model"] for row in others):
        best = max(row["ndcg"] for row in others if "ALS" in row["model"])
        rows.append(as_good_as(best, dataset, work / f"{split.name}-ials"))
    rows += others
    return [{"data": split.data, "seed": split.seed, **row} for row in rows]


def as_good_as(ndcg: float, dataset: Path, run_dir: Path) -> Row:
    """The first epoch of an iALS whose lists are this good, and the seconds of all epochs up to it."""
    seconds, epoch, row = epoch_seconds(run_dir), 0, Row(ndcg=0.0)
    while row["ndcg"] < ndcg and epoch < len(seconds):
        epoch += 1
        model = run_dir / f"model-{epoch}"
        run(BIN / "recsys-dist", "merge", run_dir, "--step", str(epoch), "--output", model)
        row = judged(model, dataset)
    label = "ials, until it is as good as ALS"
    return {"model": label, "seconds": sum(seconds[:epoch]), "first_epoch": seconds[0], "epochs": epoch, **row}


def judged(model: Path, dataset: Path) -> Row:
    """What `evaluate` says of a model, and the row of popularity beside it."""
    report_file = model.with_name(f"{model.name}-report.json")
    options: list[str | Path] = ["--dataset", dataset, "--top", str(TOP), "--output", report_file]
    run(BIN / "recsys-dist", "evaluate", model, *options)
    report = json.loads(report_file.read_text())
    (cut,), (popular,) = report["ranking"]["cuts"], report["ranking"]["baselines"]["popularity"]
    figures = {"ndcg": cut["ndcg"], "recall": cut["truncated_recall"], "rmse": report["rmse"]}
    figures |= {"bias_rmse": report["baselines"].get("user_item_bias", {}).get("rmse")}
    return {**figures, "popularity_ndcg": popular["ndcg"], "popularity_recall": popular["truncated_recall"]}


class Lists:
    """The protocol of `evaluate` for scores from elsewhere."""

    def __init__(self, dataset: Dataset) -> None:
        self.shape, least = (dataset.num_users, dataset.num_items), dataset.manifest.rating.mean
        self.train, test = (self._matrix(dataset, split) for split in ("train", "test"))
        self.liked = self._only(self.train, least)
        held_out = self._only(test, least)
        self.users = np.flatnonzero(np.diff(held_out.indptr))
        self.relevant = held_out[self.users]

    def _matrix(self, dataset: Dataset, split: Any) -> Any:
        values = dict(columns(dataset, split))
        return sparse.csr_matrix((values["rating"], (values["user_index"], values["item_index"])), self.shape)

    def _only(self, matrix: Any, least: float) -> Any:
        kept = matrix.multiply(matrix >= least).tocsr()
        kept.data[:] = 1
        return kept

    def figures(self, scores_of: Callable[[np.ndarray], np.ndarray]) -> Row:
        """nDCG and truncated recall of the lists by these scores, which are [users, items]."""
        metrics = []
        for start in range(0, len(self.users), 1000):
            users = self.users[start : start + 1000]
            seen = self.train[users].nonzero()
            items, _ = best_items(torch.from_numpy(np.ascontiguousarray(scores_of(users))), TOP, [seen])
            relevant = self.relevant[start : start + 1000].toarray() > 0
            is_hit = np.take_along_axis(relevant, items.numpy(), 1)
            metrics.append(list_metrics(is_hit, relevant.sum(1), [TOP])[:, 0])
        mean = dict(zip(METRICS, np.concatenate(metrics).mean(0).tolist(), strict=True))
        return {"ndcg": mean["ndcg"], "recall": mean["truncated_recall"], "rmse": None}


def opponents(dataset: Dataset, work: Path) -> list[Row]:
    """Both opponents."""
    lists = Lists(dataset)
    return [*implicit_als(lists, work), numpy_ease(lists)]


def numpy_ease(lists: Lists) -> Row:
    """Steck 2019, as everybody writes it."""
    start = time.perf_counter()
    gram = np.asarray((lists.liked.T @ lists.liked).todense(), np.float64)
    gram[np.diag_indices(len(gram))] += EASE_LAMBDA
    inverse = np.linalg.inv(gram)
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    seconds = time.perf_counter() - start
    figures = lists.figures(lambda users: np.asarray(lists.liked[users] @ weights, np.float32))
    return {"model": f"NumPy EASE, liked, lambda {EASE_LAMBDA:g}", "seconds": seconds, **figures}


def implicit_als(lists: Lists, work: Path) -> list[Row]:
    """implicit's ALS after some numbers of epochs; nothing if it cannot be installed."""
    try:
        python = set_up("implicit", work)
    except UnavailableError as reason:
        print(f"implicit: {reason}")
        return []
    folder, liked = work / "implicit", lists.liked
    folder.mkdir(exist_ok=True)
    arrays = {"values": liked.data.astype(np.float32), "indices": liked.indices, "indptr": liked.indptr}
    np.savez(folder / "liked.npz", allow_pickle=False, shape=liked.shape, **arrays)
    rows = []
    for epochs in IMPLICIT_EPOCHS:
        printed = run(python, "-c", IMPLICIT, folder, str(epochs), threads=2).output
        factors = np.load(folder / "factors.npz")
        figures = lists.figures(partial(_products, factors["users"], factors["items"]))
        label = f"implicit {version_of('implicit')} ALS, 64 factors, {epochs} epochs"
        rows.append({"model": label, "seconds": float(printed.strip().splitlines()[-1]), **figures})
    return rows


def _products(user_UK: np.ndarray, item_IK: np.ndarray, users: np.ndarray) -> np.ndarray:
    return user_UK[users] @ item_IK.T


def show(rows: list[Row]) -> None:
    """One table for each data set, means over the seeds."""
    for data in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == data]
        seeds = list(dict.fromkeys(row["seed"] for row in own))
        print(f"\n{data}: mean over the seeds {', '.join(map(str, seeds))}\n")
        print(f"| model | nDCG@{TOP} | recall@{TOP} | RMSE | seconds |\n|---|---|---|---|---|")
        print(f"| popularity | {mean(own, 'popularity_ndcg')} | {mean(own, 'popularity_recall')} | | |")
        for model in dict.fromkeys(row["model"] for row in own):
            mine = [row for row in own if row["model"] == model]
            figures = " | ".join(mean(mine, figure) for figure in ("ndcg", "recall", "rmse"))
            print(f"| {model} | {figures} | {statistics.median(row['seconds'] for row in mine):.1f} |")


def mean(rows: list[Row], figure: str) -> str:
    """The mean of a figure over rows that have it."""
    values = [row[figure] for row in rows if row.get(figure) is not None]
    return f"{statistics.mean(values):.4f}" if values else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, metavar="WORK_DIR")
    parser.add_argument("--sets", default="ml-1m,ml-100k,movietweetings", help="some of them (%(default)s)")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="of the splits and of the trainings (%(default)s)")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="has ml-1m/, ml-100k/")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    about = {
        "recsys_dist": recsys_dist.__version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()} with {os.cpu_count()} cores",
    }
    rows: list[Row] = []
    for data in arguments.sets.split(","):
        for seed in map(int, arguments.seeds.split(",")):
            rows += measure(split_of(data, arguments.data.resolve(), seed), work)
            (work / "ranking.json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    show(rows)


if __name__ == "__main__":
    main()
