"""Memory of a rank as items grow: item tables that are whole on each rank, tables in blocks, and AutoRec."""

from __future__ import annotations

from pathlib import Path

from benchmarks.commands import PLAIN
from benchmarks.memory import Ended, Setting, made
from benchmarks.suites.suite import GIGABYTE, Measured, Options, significant
from recsys_dist.errors import ConfigError

NUM_RANKS, NUM_USERS, NUM_RATINGS, NUM_SHARDS = 4, 60_000, 4_400_000, 16
ITEMS = (0.125, 0.25, 0.5, 1, 2)
"""In millions."""
LIMIT, SHARDED, HIDDEN = "training.memory_limit=256MiB", "model.parallel=sharded", 256
MF = (*PLAIN, "model.factors=8", "training.epochs=2")
AUTOREC = (
    f"model.hidden={HIDDEN}",
    "model.regularization=60",
    "model.implicit_input=0",
    "model.input_dropout=0.5",
    "model.batch_ratings=280000",
    "training.epochs=2",
    "checkpoint.keep=1",
)
"""A penalty and a form of the input are given, so that nothing is searched for."""
COLUMNS = {
    "mf": ("mf", MF),
    f"mf, `{LIMIT}`": ("mf", (*MF, LIMIT)),
    f"user-AutoRec, `{SHARDED}`": ("autorec_user", (*AUTOREC, SHARDED)),
}


def memory(options: Options) -> Measured:
    """The peak of the largest rank, resident, of two epochs."""
    sizes = f"mf of 8 factors, AutoRec of {HIDDEN} hidden units; {NUM_USERS:,} users, about 4 million ratings"
    table = Measured(f"Memory of a rank of {NUM_RANKS}; {sizes}", "items", tuple(COLUMNS))
    for size in options.sizes or ITEMS:
        num_items = round(size * 1e6)
        dataset = made(options.work / f"items-{num_items}", NUM_USERS, num_items, NUM_RATINGS, NUM_SHARDS)
        for column, (config, overrides) in COLUMNS.items():
            setting = Setting(options.work, NUM_RANKS, list(overrides), config)
            table.add(f"{num_items:,}", column, _peak(setting, dataset), "GB")
    return table


def _peak(setting: Setting, dataset: Path) -> str:
    ended: Ended = setting.train(dataset, "run-items")
    if ended.exit_code:
        raise ConfigError(
            f"{dataset}: the training ended with exit code {ended.exit_code}:\n{ended.output[-4000:]}"
        )
    return significant(max(rank.resident for rank in ended.ranks) / GIGABYTE)
