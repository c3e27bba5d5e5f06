"""Errors, lists, seconds and memory of all families and of other programs, as shipped.

quick   MovieTweetings 100K, which comes with the tests; minutes
ml100k  MovieLens 100K, the mean of its five folds
ml1m    MovieLens 1M, random 90/10, the mean of five seeds; other programs that predict ratings too
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from pathlib import Path

from benchmarks.environments import UnavailableError, version_of
from benchmarks.exported import Score, export
from benchmarks.opponents import Opponent
from benchmarks.opponents import measure as train_opponent
from benchmarks.peers import install
from benchmarks.ranking import LISTS, RATINGS, TRAINED, Row, Split, measure, split_of
from benchmarks.suites.suite import MEGABYTES, Measured, Options, significant
from recsys_dist.dataset.dataset import Dataset

SEEDS = (0, 1, 2, 3, 4)
CONFIGS = (*TRAINED[:2], "autorec_user", *TRAINED[2:])
OPPONENTS = ("libmf", "surprise")
LABELS = {
    "autorec_item": "item-AutoRec",
    "autorec_user": "user-AutoRec",
    "blend for ratings": "blend for ratings of mf and item-AutoRec",
    "blend for lists": "blend for lists of ease, ials and mf",
    "ials, until it is as good as ALS": "ials, ended early: once it is as good as implicit",
    "NumPy EASE, liked, lambda 500": "EASE in NumPy, liked ratings, lambda 500",
}
"""What the rows of benchmarks/ranking.py are called, if not by their own names."""
IMPLICIT = re.compile(r"implicit ([\d.]+) ALS")
FIGURES = {
    "rmse": ("test RMSE", "rating"),
    "ndcg": ("nDCG", "share"),
    "recall": ("recall of min(relevant, 10)", "share"),
}
COLUMNS = (*(column for column, _ in FIGURES.values()), "seconds of training", "memory")


def quick(options: Options) -> Measured:
    """One split of MovieTweetings."""
    title = "MovieTweetings 100K, one split, ratings from 0 to 10, lists of ten; models as shipped"
    return _table(title, "movietweetings", (0,), options, options.opponents or ())


def ml100k(options: Options) -> Measured:
    """The five folds of MovieLens 100K."""
    for name in ("u1.base.gz", "u.item.gz"):
        file = options.data / "ml-100k" / name
        options.require(file, "is a file of MovieLens 100K", "--data FOLDER, which has ml-100k/")
    title = "MovieLens 100K, mean of the folds u1 to u5, lists of ten; models as shipped"
    return _table(title, "ml-100k", SEEDS, options, options.opponents or ())


def ml1m(options: Options) -> Measured:
    """Five random splits of MovieLens 1M."""
    options.require_ml1m()
    title = "MovieLens 1M, random 90/10, mean of five seeds, lists of ten; models as shipped"
    wanted = OPPONENTS if options.opponents is None else options.opponents
    return _table(title, "ml-1m", SEEDS, options, wanted)


def _table(
    title: str, data: str, seeds: tuple[int, ...], options: Options, opponents: tuple[str, ...]
) -> Measured:
    pythons = install(set(opponents), data, options.work) if opponents else {}
    rows: list[Row] = []
    for seed in seeds:
        split = split_of(data, options.data, seed)
        rows += with_parts(measure(split, options.work, CONFIGS))
        rows += _others(split, options.work, pythons)
    return table_of(rows, title)


def with_parts(rows: list[Row]) -> list[Row]:
    """The rows of one split; the seconds of a blend are those of its parts too, which are trained before it."""
    seconds = {row["model"]: row["seconds"] for row in rows}
    parts = {"blend for ratings": RATINGS, "blend for lists": LISTS}
    return [
        {**row, "seconds": row["seconds"] + sum(seconds[part] for part in parts.get(row["model"], ()))}
        for row in rows
    ]


def _others(split: Split, work: Path, pythons: dict[Opponent, Path]) -> Iterator[Row]:
    """Programs that predict ratings, on the dataset that `measure` has prepared."""
    if not pythons:
        return
    dataset = work / split.name
    exported, score = export(dataset, work / f"{split.name}-export"), Score(Dataset.open(str(dataset)))
    for one, python in pythons.items():
        try:
            training = train_opponent(one, python, exported, work / "output", score)
        except UnavailableError as reason:
            print(f"skipped {one.label}: {reason}", flush=True)
            continue
        row = {"model": label_of(one), "versions": f"{one.program} {version_of(one.environment)}"}
        costs = {"seconds": training.train_seconds, "peak_mb": training.peak_bytes / 1e6}
        yield {**row, **costs, "rmse": training.rmse}


def label_of(one: Opponent) -> str:
    """An opponent as a row: its name, and the setting that tells its variants apart."""
    told = {"nr_iters": "iterations", "n_factors": "factors"}
    return ", ".join(
        [one.label, *(f"{one.settings[key]} {word}" for key, word in told.items() if key in one.settings)]
    )


def table_of(rows: list[Row], title: str) -> Measured:
    """Means over the splits, of seconds and memory the median; baselines come first."""
    table = Measured(title, "model", COLUMNS)
    _add(table, "user + item bias", "rmse", _values(rows, "bias_rmse"))
    for figure in ("ndcg", "recall"):
        _add(table, "most rated", figure, _values(rows, f"popularity_{figure}"))
    for model in dict.fromkeys(row["model"] for row in rows):
        _add_model(table, [row for row in rows if row["model"] == model])
    return table


def _add_model(table: Measured, rows: list[Row]) -> None:
    found = IMPLICIT.match(rows[0]["model"])
    versions = f"implicit {found[1]}" if found else rows[0].get("versions", "")
    name = IMPLICIT.sub("implicit ALS", rows[0]["model"])
    label = LABELS.get(name, name)
    for figure in FIGURES:
        _add(table, label, figure, _values(rows, figure), versions)
    if seconds := _values(rows, "seconds"):
        table.add(label, "seconds of training", significant(statistics.median(seconds)), "s", versions)
    if peaks := _values(rows, "peak_mb"):
        table.add(label, "memory", significant(statistics.median(peaks) / MEGABYTES), "GB", versions)


def _add(table: Measured, label: str, figure: str, values: list[float], versions: str = "") -> None:
    if values:
        column, unit = FIGURES[figure]
        table.add(label, column, f"{statistics.mean(values):.4f}", unit, versions)


def _values(rows: list[Row], figure: str) -> list[float]:
    return [row[figure] for row in rows if row.get(figure) is not None]
