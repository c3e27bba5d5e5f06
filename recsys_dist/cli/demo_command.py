"""`fit` and `demo`: the whole way from rating files to a model, one's own files and those of the package.

Each step is a command that the user could type, printed before it runs.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.extras import how_to_install

if TYPE_CHECKING:
    from recsys_dist.dataset.dataset import Dataset

MARK = "recsys_dist_demo"
"""A file in the folder of a demo, without which the folder is not removed."""
TRAINED = ("mf", "autorec_item", "ials", "ease")
BLENDS = {"ratings": ("mf", "autorec_item"), "lists": ("ease", "ials", "mf")}
USERS = ("2850", "8822")
ITEMS_KEYS = ("format", "separator", "quote", "header", "encoding")


def fit(
    context: typer.Context,
    ratings: Annotated[str, typer.Argument(metavar="FILE", help="A file, folder, glob or URL of ratings.")],
    titles: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="FILE", help="A file with a column of items and one of their titles."),
    ] = None,
    model: Annotated[
        str, typer.Option(metavar="NAME", help="ease, ials, mf, another shipped configuration, or a YAML file.")
    ] = "ease",
    output: Annotated[Path, typer.Option(metavar="FOLDER", help="Where all results go.")] = Path("runs/fit"),
) -> None:
    """From rating files to a model: inspect, prepare, train and merge, in one process.

    Prints each command before it runs, and skips what is done. Columns and format are found as by `inspect`; where
    it guesses wrong, change FOLDER/prepare.yaml, remove what else is in FOLDER and run the same command again.

    Example: recsys-dist fit ratings.csv --titles movies.csv --output runs/films
    """
    from recsys_dist.dataset.dataset import Dataset, find_dataset
    from recsys_dist.storage.holdings import Holding, holding

    proposal, dataset, run_dir = output / "prepare.yaml", output / "dataset", output / "run"
    output.mkdir(parents=True, exist_ok=True)
    if not proposal.exists():
        _show(["recsys-dist", "inspect", ratings, "--output", str(proposal)], context)
    columns = _columns(proposal, ratings)
    if find_dataset(str(dataset)) is None:
        items = [] if titles is None else [f"items={json.dumps(_items_settings(titles, columns.get('item')))}"]
        _show(["recsys-dist", "prepare", "--config", str(proposal), f"output={dataset}", *items], context)
    elif titles is not None:
        _require_titles(Dataset.open(str(dataset)), output)
    _show(["recsys-dist", "train", "--config", model, f"dataset={dataset}", f"run_dir={run_dir}"], context)
    if holding(str(output / "model")) is not Holding.MODEL:
        _show(["recsys-dist", "merge", str(run_dir), "--output", str(output / "model")], context)
    user = next(iter(Dataset.open(str(dataset)).id_slice("users", 0, 1).to_pylist()))
    asked = ["recommend", str(output / "model"), "--user", user, "--top", "10"]
    typer.echo(f"\nNext:    {_program()} {shlex.join(asked)}")


def _columns(proposal: Path, ratings: str) -> dict[str, Any]:
    """The columns of the ratings. Raises `ConfigError` if the settings are those of other files."""
    from recsys_dist.config import read_written
    from recsys_dist.preparation.settings.prepare import PrepareConfig

    given = read_written(PrepareConfig, proposal).tree.get("input", {})
    if given.get("paths") != ratings:
        raise ConfigError(f"{proposal} is for {given.get('paths')}, not {ratings}; name another --output")
    columns: dict[str, Any] = given.get("columns", {})
    return columns


def _require_titles(dataset: Dataset, output: Path) -> None:
    """Raise `ConfigError` if a dataset that is not prepared again has no titles."""
    if dataset.titles.null_count == dataset.num_items:
        raise ConfigError(f"--titles: {dataset.folder.url} was prepared without; remove {output}, or name another")


def _items_settings(titles: str, rated: str | int | None) -> dict[str, Any]:
    """The keys below `items` for a file of titles; `rated` is the column of items in the ratings."""
    from recsys_dist.preparation.inspection.sniff import sniff

    found = sniff("--titles", titles)
    names = [column.reference for column in found.columns]
    title = next((name for name in names if "title" in str(name).lower()), names[1] if len(names) > 1 else None)
    others = [name for name in names if name != title]
    if title is None or not others:
        raise DataError(f"--titles {titles} has one column; it needs one of items and one of their titles")
    item = rated if rated in others else others[0]
    of_file = {key: value for key, value in found.tree.items() if key in ITEMS_KEYS}
    return {**of_file, "paths": titles, "columns": {"item": item, "title": title}}


def demo(
    context: typer.Context,
    folder: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the results go; an earlier demo there is replaced.")
    ] = Path("runs/demo"),
    ranks: Annotated[int, typer.Option(min=1, help="Processes that train together.")] = 2,
) -> None:
    """Show every step on real ratings (MovieTweetings 100K), from files to lists and a page of figures.

    Prints each command before it runs. Takes a minute and a half on 2 free cores.

    Example: recsys-dist demo
    """
    _make_room(folder)
    can_draw = find_spec("matplotlib") is not None and find_spec("jinja2") is not None
    for command in _commands(folder, ranks, can_draw):
        _show(command, context, ranks)
    _tell_next(folder, can_draw)


def _make_room(folder: Path) -> None:
    """Make the folder, or empty that of an earlier demo. Raises `ConfigError` if it holds anything else."""
    if folder.exists():
        if not (folder / MARK).is_file() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not the folder of a demo and is not empty; name another --folder")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()


def _commands(folder: Path, ranks: int, can_draw: bool) -> Iterator[list[str]]:
    from recsys_dist.shipped_configs import demo_ratings

    data, dataset, models = demo_ratings(), f"dataset={folder / 'dataset'}", folder / "models"
    files = [f"input.paths=[{data / 'ratings.dat.gz'}]", f"items.paths=[{data / 'movies.dat.gz'}]"]
    yield ["recsys-dist", "prepare", "--config", "prepare_movietweetings", *files, f"output={folder / 'dataset'}"]
    torchrun = ["torchrun", "--standalone", f"--nproc_per_node={ranks}", "-m", "recsys_dist"]
    for name in TRAINED:
        yield [*torchrun, "train", "--config", name, dataset, f"run_dir={folder / name}"]
        yield ["recsys-dist", "merge", str(folder / name), "--output", str(models / name)]
    judged = ["--dataset", str(folder / "dataset"), "--output"]
    for goal, parts in BLENDS.items():
        blended = [str(models / part) for part in parts]
        yield ["recsys-dist", "blend", *blended, "--for", goal, *judged, str(models / goal)]
    every = [str(models / name) for name in (*TRAINED, *BLENDS)]
    yield ["recsys-dist", "evaluate", *every, *judged, str(folder / "report.json")]
    if can_draw:
        figures = ["--evaluation", str(folder / "report.json"), "--output"]
        runs = [str(folder / name) for name in TRAINED]
        yield ["recsys-dist", "report", *runs, *figures, str(folder / "index.html")]
        shown = ["--model", str(models / "mf"), *figures, str(folder / "mf.html")]
        yield ["recsys-dist", "report", str(folder / "mf"), *shown]
    asked = [word for user in USERS for word in ("--user", user)]
    yield ["recsys-dist", "recommend", str(models / "lists"), *asked, *judged[:2]]


def _show(command: list[str], context: typer.Context, ranks: int = 1) -> None:
    typer.echo(f"\n$ {shlex.join(command)}")
    _run(command, ranks, context)


def _run(command: list[str], ranks: int, context: typer.Context) -> None:
    """Run a command, in this process where it is one of this program: its modules are loaded by then."""
    if command[0] != "torchrun":
        context.find_root().command.main(args=command[1:], prog_name=command[0], standalone_mode=False)
        return
    # All ranks run on this machine: each uses its share of the cores.
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // ranks))}
    program = [sys.executable, "-m", "torch.distributed.run", *command[1:]]
    code = subprocess.run(program, env={**os.environ, **threads}, check=False).returncode
    if code:
        raise ConfigError(f"the command above ended with exit code {code}; the demo stops here")


def _tell_next(folder: Path, can_draw: bool) -> None:
    models = folder / "models"
    pages = f"{folder / 'index.html'} compares the models, {folder / 'mf.html'} shows one: open them in a browser"
    if not can_draw:
        pages = f"none; for pages of figures: {how_to_install('report')}"
    program = _program()
    typer.echo(
        f"\nPages:   {pages}"
        f"\nFigures: {folder / 'report.json'}"
        f"\nModels:  {models}/{{{','.join((*TRAINED, *BLENDS))}}}; the last two are blends"
        f"\nNext:    {program} recommend {models / 'lists'} --like 'Gravity (2013)' --like 'Pacific Rim'"
        f"\n         {program} inspect YOUR_RATINGS.csv --output mine.yaml"
    )


def _program() -> str:
    """How to call this program again: launch/demo.sh installs into an environment that is not active."""
    return "recsys-dist" if shutil.which("recsys-dist") else sys.argv[0]
