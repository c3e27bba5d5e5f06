"""Measure a suite with its default settings and write its figures: docs/figures/SUITE.json.

    python -m benchmarks.run SUITE [--work DIR] [--output FILE] [--data FOLDER] [--generator FILE]

    quick        MovieTweetings 100K: all families, minutes
    ml100k       MovieLens 100K: all families; --data has ml-100k/ in it
    ml1m         MovieLens 1M: all families and other programs; --data has ml-1m/ in it
    large        27 million synthetic ratings: all families, ials beside implicit
    long_tail    .9 million synthetic ratings of many items: all families
    peers        27 million synthetic ratings: mf beside other programs that predict ratings
    prepare      prepare beside DuckDB, 27 million synthetic ratings
    growth       cost of a rating as ratings and items grow
    ranks        an epoch on one rank and more
    memory       memory of a rank as items grow
    autorec      a training step of AutoRec beside a dense one
    optimizers   the optimizers of AutoRec on MovieLens 1M
    lists        lists for all users, beside implicit
    serving      latency of serve with a blend of MovieLens 1M
    billion      a billion ratings, from files to lists: 17 minutes, 30 GB of disk

Each figure states its command, commit, machine, versions and date. A checkout with changes is refused, unless
--dirty marks the figures. --keep leaves the rows and columns of FILE that this call does not measure.
`python -m docs.site_builder.tables` and `python -m docs.site_builder.pictures` then take the figures over into the
pages. Synthetic ratings are made by make_ratings.py. Seconds are wall-clock: run it on a machine that does nothing
else.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.commands import ROOT
from benchmarks.origin import Origin
from benchmarks.suites import (
    accuracy,
    autorec,
    billion,
    large,
    lists,
    long_tail,
    memory,
    peers,
    prepare,
    serving,
    speed,
)
from benchmarks.suites.suite import Measured, Options, Suite
from docs.site_builder.figures import FIGURES, Figure, FigureTable
from recsys_dist.errors import ConfigError

SUITES: dict[str, Suite] = {
    "quick": accuracy.quick,
    "ml100k": accuracy.ml100k,
    "ml1m": accuracy.ml1m,
    "large": large.large,
    "long_tail": long_tail.long_tail,
    "peers": peers.peers,
    "prepare": prepare.prepare,
    "growth": speed.growth,
    "ranks": speed.ranks,
    "memory": memory.memory,
    "autorec": autorec.autorec,
    "optimizers": autorec.optimizers,
    "lists": lists.lists,
    "serving": serving.serving,
    "billion": billion.billion,
}
SETTINGS = {
    "quick": ("opponents",),
    "ml100k": ("opponents",),
    "ml1m": ("opponents",),
    "large": ("runs",),
    "long_tail": (),
    "peers": ("runs", "opponents"),
    "prepare": ("runs",),
    "growth": ("runs", "sizes"),
    "ranks": ("runs", "sizes"),
    "memory": ("sizes",),
    "autorec": (),
    "optimizers": (),
    "lists": ("runs",),
    "serving": ("runs",),
    "billion": (),
}
"""The options that change what a suite measures: they stand in the command of its figures."""


def table_of(measured: Measured, origin: Origin) -> FigureTable:
    """The table as the pages read it."""
    figures = tuple(
        Figure(
            cell.row,
            cell.column,
            cell.value,
            cell.unit,
            origin.command,
            origin.commit,
            origin.date,
            origin.machine,
            ", ".join(filter(None, [origin.versions, cell.versions])),
        )
        for cell in measured.cells
    )
    return FigureTable(measured.title, measured.rows, measured.columns, figures)


def command_of(suite: str, arguments: argparse.Namespace) -> str:
    """The command without its folders, which differ from machine to machine."""
    settings = [f"--{name} {value}" for name, value in given(arguments).items()]
    return " ".join(["python -m benchmarks.run", suite, *settings])


def given(arguments: argparse.Namespace) -> dict[str, object]:
    """The settings of a call by their names."""
    names = dict.fromkeys(name for settings in SETTINGS.values() for name in settings)
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def sizes_of(text: str | None) -> tuple[float, ...]:
    """Sizes in millions, from the smallest."""
    try:
        sizes = tuple(sorted(float(size) for size in text.split(","))) if text else ()
    except ValueError:
        raise ConfigError(f"--sizes takes millions separated by commas, such as 1,10; not {text}") from None
    if not all(0 < size < 1e6 for size in sizes):
        raise ConfigError(f"--sizes takes millions above 0 and below a million; not {text}")
    return sizes


def options_of(arguments: argparse.Namespace, work: Path) -> Options:
    """The options of a suite. ConfigError where one is wrong."""
    suite, own = arguments.suite, SETTINGS[arguments.suite]
    if others := [name for name in given(arguments) if name not in own]:
        taken = ", ".join(f"--{name}" for name in own)
        raise ConfigError(f"--{others[0]} is no setting of the suite {suite}, which takes {taken}")
    if arguments.runs is not None and arguments.runs < 1:
        raise ConfigError(f"--runs takes 1 or more; not {arguments.runs}")
    names = arguments.opponents
    opponents = None if names is None else tuple(filter(None, names.split(",")))
    if unknown := set(opponents or ()) - set(peers.OPPONENTS):
        raise ConfigError(f"--opponents takes {', '.join(peers.OPPONENTS)}; not {', '.join(sorted(unknown))}")
    folders = (work.resolve(), arguments.data.resolve(), arguments.generator.resolve())
    return Options(*folders, arguments.runs, sizes_of(arguments.sizes), opponents)


def measure(arguments: argparse.Namespace, work: Path) -> None:
    """Run a suite and write its file."""
    output = arguments.output or FIGURES / f"{arguments.suite}.json"
    options = options_of(arguments, work)
    # Before the measurement: a refusal should not come after hours.
    origin = Origin.of(command_of(arguments.suite, arguments), arguments.dirty)
    work.mkdir(parents=True, exist_ok=True)
    table = table_of(SUITES[arguments.suite](options), origin)
    if arguments.keep and output.exists():
        table = table.beside(FigureTable.read_file(output))
    output.parent.mkdir(parents=True, exist_ok=True)
    table.write_file(output)
    print(f"{output}: {len(table.figures)} figures")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = ROOT.parent / "shared"
    made.add_argument("suite", choices=SUITES, metavar="SUITE", help=", ".join(SUITES))
    made.add_argument("--work", type=Path, metavar="DIR", help="for data and runs (a temporary folder)")
    made.add_argument("--output", type=Path, metavar="FILE", help="docs/figures/SUITE.json")
    made.add_argument(
        "--data", type=Path, default=shared / "data", metavar="FOLDER", help="has ml-1m/, ml-100k/ (%(default)s)"
    )
    generator = shared / "tools" / "make_ratings.py"
    made.add_argument(
        "--generator", type=Path, default=generator, metavar="FILE", help="make_ratings.py (%(default)s)"
    )
    made.add_argument("--runs", type=int, help="in turns, for medians of seconds (3)")
    made.add_argument("--sizes", help="millions of ratings (growth, ranks) or of items (memory)")
    made.add_argument("--opponents", help=f"some of {','.join(peers.OPPONENTS)} (quick: none)")
    made.add_argument("--keep", action="store_true", help="keep what FILE has in other rows and columns")
    made.add_argument("--dirty", action="store_true", help="measure a checkout with changes, and mark the figures")
    return made


def main() -> None:
    """Measure, with one line for a mistake."""
    arguments = parser().parse_args()
    try:
        if arguments.work:
            measure(arguments, arguments.work)
            return
        with tempfile.TemporaryDirectory(prefix="benchmarks-") as work:
            measure(arguments, Path(work))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
