"""Memory of a rank as items grow, with item tables that are whole on each rank and with tables in blocks."""

from __future__ import annotations

from pathlib import Path

from benchmarks.figures import PLAIN
from benchmarks.memory import Ended, Setting, made
from benchmarks.suites.suite import GIGABYTE, Measured, Options, significant
from recsys_dist.errors import ConfigError

NUM_RANKS, NUM_USERS, NUM_RATINGS, NUM_SHARDS = 4, 60_000, 4_400_000, 16
ITEMS = (0.125, 0.25, 0.5, 1, 2)
"""In millions."""
LIMIT = "training.memory_limit=256MiB"
COLUMNS = {"mf": (), f"mf, `{LIMIT}`": (LIMIT,)}


def memory(options: Options) -> Measured:
    """The peak of the largest rank, resident, of two epochs."""
    title = f"Memory of a rank of {NUM_RANKS}; mf: K=8, {NUM_USERS:,} users, about 4 million ratings"
    table = Measured(title, "items", tuple(COLUMNS))
    setting = Setting(options.work, NUM_RANKS, [*PLAIN, "model.factors=8", "training.epochs=2"])
    for size in options.sizes or ITEMS:
        num_items = round(size * 1e6)
        dataset = made(options.work / f"items-{num_items}", NUM_USERS, num_items, NUM_RATINGS, NUM_SHARDS)
        for column, overrides in COLUMNS.items():
            table.add(f"{num_items:,}", column, _peak(setting, dataset, overrides), "GB")
    return table


def _peak(setting: Setting, dataset: Path, overrides: tuple[str, ...]) -> str:
    ended: Ended = setting.train(dataset, "run-items", *overrides)
    if ended.exit_code:
        raise ConfigError(
            f"{dataset}: the training ended with exit code {ended.exit_code}:\n{ended.output[-4000:]}"
        )
    return significant(max(rank.resident for rank in ended.ranks) / GIGABYTE)
