"""The commands of `recsys-dist`. Heavy modules are imported inside the command that needs them: `--help` is fast.

Exit codes: 0 done, 2 a mistake of the user (one line `error: ...` on stderr), 75 (EX_TEMPFAIL) training was asked
to stop, saved its state and can be started again.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.errors import ConfigError, RecsysDistError

EXIT_USER_ERROR = 2
EXIT_SAVED_RUN_AGAIN = 75

app = typer.Typer(
    name="recsys-dist",
    help="Rating prediction and recommendation for data that no longer fits one machine.\n\n"
    "prepare -> train -> merge -> evaluate, recommend, report. "
    "Every path may be a folder or a URL (s3://, gs://, ...).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    str, typer.Option("--config", "-c", metavar="FILE", help="YAML file with the settings of this run.")
]
Overrides = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Argument(
        metavar="[KEY.SUB=VALUE]...",
        help="Settings that replace those of the file, e.g. model.factors=32 output=s3://bucket/dataset.",
        show_default=False,
    ),
]
ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL_DIR", help="Model folder that `merge` wrote.", show_default=False)
]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
VerifyOption = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Check the hash of every model file first; ids and titles are checked in any case.",
    ),
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        _run(arguments)
    except SystemExit as end:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            _leave(end)
        raise


def _leave(end: SystemExit) -> None:
    """End one of several ranks without the interpreter's own end.

    A moment after a collective a thread of gloo lets go of its tensors, for which it needs the interpreter. Where
    that is ending already it ends the thread, and the thread's C++ aborts the process (seen with torch 2.13 in
    about one of thirty short runs): a rank that has done all its work would count as failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(end.code if isinstance(end.code, int) else int(end.code is not None))


def _run(arguments: Sequence[str] | None) -> None:
    try:
        app(args=arguments)
    except RecsysDistError as error:
        _fail(str(error))
    except OSError as error:
        _fail(": ".join(str(part) for part in (error.filename, error.strerror or error) if part))


def _fail(reason: str) -> None:
    """Print one line and exit. Under torchrun the agent's summary tells what the ranks past the first met."""
    if os.environ.get("RANK", "0") == "0" or "TORCHELASTIC_ERROR_FILE" not in os.environ:
        sys.stderr.write(f"error: {' '.join(reason.split())}\n")
        sys.stderr.flush()
    raise SystemExit(EXIT_USER_ERROR)


def _require_writable(output: Path | None, option: str = "--output") -> None:
    """Say that a file cannot be written before the work whose result it would hold."""
    if output is None:
        return
    if not output.parent.is_dir():
        raise ConfigError(f"{option} {output}: there is no folder {output.parent}")
    if output.exists() and not output.is_file():
        raise ConfigError(f"{option} {output}: this is not a file; give the name of one")


@app.command()
def prepare(config: ConfigOption, overrides: Overrides = None) -> None:
    """Turn rating files into a prepared dataset (Dask: a local cluster, or the one that cluster.address names).

    Rows that cannot be used are kept apart with their reasons, never dropped silently.

    Example: recsys-dist prepare --config configs/prepare_ml1m.yaml output=data/ml1m
    """
    from recsys_dist.cli.progress import show_stages
    from recsys_dist.cli.tables import print_dataset
    from recsys_dist.config import load_settings
    from recsys_dist.data.config import PrepareConfig
    from recsys_dist.data.prepare import prepare as prepare_dataset

    settings = load_settings(PrepareConfig, config, overrides or ())
    start = time.perf_counter()
    with show_stages() as progress:
        manifest = prepare_dataset(settings, progress)
    print_dataset(manifest, settings.output, seconds=time.perf_counter() - start)


@app.command()
def train(config: ConfigOption, overrides: Overrides = None) -> None:
    """Train a model, or continue the run that `run_dir` holds.

    As it stands this is one process, on the CPU or one GPU. On several ranks:

    torchrun --nproc_per_node=4 launch/train.py --config configs/mf.yaml dataset=data/ml1m run_dir=runs/ml1m

    Exit code 75 means: asked to stop, saved; the same command continues.
    """
    from recsys_dist.cli.tables import print_outcome
    from recsys_dist.config import load_settings
    from recsys_dist.distributed.elastic import report_errors

    with report_errors():
        from recsys_dist.training.config import TrainConfig
        from recsys_dist.training.run import train as train_model

        settings = load_settings(TrainConfig, config, overrides or ())
        outcome = train_model(settings)
    if os.environ.get("RANK", "0") == "0":
        print_outcome(outcome.name, settings.run_dir)
    if outcome.name == "PREEMPTED":
        raise typer.Exit(EXIT_SAVED_RUN_AGAIN)


@app.command()
def merge(
    run_dir: Annotated[
        str, typer.Argument(metavar="RUN_DIR", help="Folder of a training run.", show_default=False)
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="MODEL_DIR", help="Folder to create for the model.")
    ],
    step: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            metavar="N",
            help="Checkpoint to take, by its epochs; if not given the best by validation RMSE, else the newest.",
        ),
    ] = None,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Where the dataset of the run lies now, if it has moved. It must be the same dataset."),
    ] = None,
) -> None:
    """Merge the sharded checkpoint of a run into one model folder that needs nothing else.

    The folder is the same, byte for byte, whatever number of ranks trained the model.

    Example: recsys-dist merge runs/ml1m --output models/ml1m
    """
    from recsys_dist.checkpoint.merge import merge as merge_checkpoint
    from recsys_dist.cli.progress import show_stages
    from recsys_dist.cli.tables import print_model

    with show_stages() as progress:
        manifest = merge_checkpoint(run_dir, output, step=step, dataset_url=dataset, progress=progress)
    print_model(manifest, output)


@app.command()
def evaluate(
    model_dir: ModelArgument,
    dataset: Annotated[str, typer.Option(metavar="DATASET", help="Prepared dataset with the held-out ratings.")],
    split: Annotated[
        str, typer.Option(help="Split to evaluate: test or valid; train only with --allow-train.")
    ] = "test",
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="FILE", help="Also write the report as JSON, to a local file."),
    ] = None,
    relevant_from: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            metavar="RATING", help="Ratings from here on count as relevant; the train mean if not given."
        ),
    ] = None,
    ranking_users: Annotated[
        int, typer.Option(min=0, help="Rank all items for at most so many users, a fixed draw; 0 for none.")
    ] = 20_000,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    allow_train: Annotated[
        bool, typer.Option("--allow-train", help="With --split train: the error on what the model was trained on.")
    ] = False,
    allow_other_split: Annotated[
        bool,
        typer.Option(
            "--allow-other-split",
            help="Evaluate on a dataset that has other ratings, or splits them in another way, than the one that "
            "the model was trained on. What it was trained on is left out.",
        ),
    ] = False,
) -> None:
    """Measure RMSE and MAE on held-out ratings, cold users and items apart, beside two baselines; and the top 10.

    Where the model knows how sure it is, also how well: coverage of its intervals, NLL and log-loss.

    Example: recsys-dist evaluate models/ml1m --dataset data/ml1m --output report.json
    """
    from recsys_dist.cli.tables import print_report
    from recsys_dist.inference.evaluate import evaluate as evaluate_model
    from recsys_dist.inference.evaluate import write_report

    _require_writable(output)
    report = evaluate_model(
        model_dir, dataset, split, relevant_from, ranking_users, device, verify, allow_train, allow_other_split
    )
    print_report(report)
    if output is not None:
        write_report(report, output)


@app.command()
def recommend(
    model_dir: ModelArgument,
    user: Annotated[
        list[str], typer.Option("--user", "-u", metavar="ID", help="User id as in the data; repeatable.")
    ],
    top: Annotated[int, typer.Option(min=1, help="Items for each user.")] = 10,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="DATASET", help="Also leave out what these users rated in any split of this prepared dataset."
        ),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also recommend items that the user has rated.")
    ] = False,
    rank_by: Annotated[
        str,
        typer.Option(
            help="mean: the predicted rating. lower: what it exceeds with probability --confidence. thompson: "
            "a draw from what is known of the user and the items."
        ),
    ] = "mean",
    confidence: Annotated[float, typer.Option(help="For --rank-by lower: between 0 and 1.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="For --rank-by thompson: the same seed, the same list.")] = 0,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--output", "-o", metavar="FILE", help="Also write the lists to a local file: .json or .csv."
        ),
    ] = None,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
) -> None:
    """Print the best items for each user, by the predicted rating; items rated in training are left out.

    Example: recsys-dist recommend models/ml1m --user 42 --user 7 --top 10
    """
    from recsys_dist.cli.tables import print_recommendations
    from recsys_dist.inference.lists import check_list_file, write_lists
    from recsys_dist.inference.model import load_model
    from recsys_dist.inference.order import Order, parse_rank_by

    if include_seen and dataset is not None:
        raise ConfigError("--include-seen and --dataset contradict each other; give one of them")
    _require_writable(output)
    if output is not None:
        check_list_file(output)
    order = Order(parse_rank_by(rank_by), confidence, seed)
    model = load_model(model_dir, device, verify)
    model.require_users(user)
    lists = model.recommend(user, top, include_seen, dataset, order.by, confidence, seed)
    print_recommendations(lists)
    if output is not None:
        write_lists(lists, output)


@app.command()
def similar(
    model_dir: ModelArgument,
    item: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--item", "-i", metavar="ID", help="Item id as in the data."),
    ] = None,
    user: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--user", "-u", metavar="ID", help="User id as in the data."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="How many.")] = 10,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
) -> None:
    """Print the items most like an item, or the users most like a user, by the cosine of their factors.

    Example: recsys-dist similar models/ml1m --item 858 --top 10
    """
    from recsys_dist.cli.tables import print_similar
    from recsys_dist.inference.model import load_model

    if (item is None) == (user is None):
        raise ConfigError("give either --item or --user")
    model = load_model(model_dir, device, verify)
    if item is not None:
        print_similar(f"Items like {item}", model.similar_items(item, top))
    elif user is not None:
        print_similar(f"Users like {user}", model.similar_users(user, top))


@app.command()
def report(
    run_dir: Annotated[
        str, typer.Argument(metavar="RUN_DIR", help="Folder of a training run.", show_default=False)
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="HTML file to write.")],
    evaluation: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE", help="Also show this report.json, which `evaluate` wrote of the run's model."
        ),
    ] = None,
) -> None:
    """Write one HTML page about a run: settings, learning curves, speed, and errors beside the baselines.

    The page needs nothing else: to look at, to send, to print.

    Example: recsys-dist report runs/ml1m --evaluation report.json --output report.html
    """
    from recsys_dist.cli.tables import print_page
    from recsys_dist.report.report import write_report

    _require_writable(output)
    write_report(run_dir, output, evaluation)
    print_page(output)


@app.command()
def inspect(
    target: Annotated[
        str,
        typer.Argument(
            metavar="DATASET|FILE",
            help="Prepared dataset, or input of one: a file, folder, archive, glob or URL.",
            show_default=False,
        ),
    ],
    plot: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            metavar="FILE",
            help="Of a dataset also write one HTML page with figures: ratings, activity, density, balance.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Of a dataset check size and sha256 of every file first.")
    ] = False,
    output: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--output", "-o", metavar="CONFIG.yaml", help="Of a file also write the proposed settings."),
    ] = None,
) -> None:
    """Show what a prepared dataset holds, or what an input file seems to hold and which settings would read it.

    Of a dataset: counts, split, rows rejected and why, shards and their balance, files. Exit code 2 where --verify
    finds a file that is missing or damaged: the error names the first.

    Of a file, from a sample: packing, separator, columns and their likely roles, rows that could not be used, and
    a configuration for `prepare` to begin with.

    Example: recsys-dist inspect data/ml1m --verify --plot ml1m.html

    Example: recsys-dist inspect ratings.csv --output mine.yaml
    """
    from recsys_dist.cli.inspection import inspect as inspect_target

    _require_writable(plot, "--plot")
    _require_writable(output)
    if output is not None and output.exists():
        raise ConfigError(f"--output {output}: this file exists, and is not overwritten; give another name")
    inspect_target(target, plot, verify, output)


@app.command()
def verify_parity(
    config: ConfigOption,
    overrides: Overrides = None,
    ranks: Annotated[
        str,
        typer.Option(metavar="N,N,...", help="Numbers of ranks to train on; one that stands twice runs twice."),
    ] = "1,2,4",
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 2,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Relative difference of a tensor that counts as equal; 0: every bit.")
    ] = 0.0,
) -> None:
    """Train on several numbers of ranks of this machine, and check that the model is the same on all of them.

    Each training starts from scratch in a temporary folder, on the CPU; `run_dir` is neither needed nor touched.
    Exit code 2 where a model differs: the error names the first tensor that does.

    Example: recsys-dist verify-parity --config configs/mf.yaml --ranks 1,2,4 dataset=data/ml1m
    """
    from recsys_dist.cli.parity_table import print_parity
    from recsys_dist.cli.progress import show_stages
    from recsys_dist.config import load_settings
    from recsys_dist.training.config import TrainConfig
    from recsys_dist.training.parity import parse_world_sizes, require_parity
    from recsys_dist.training.parity import verify_parity as verify

    world_sizes = parse_world_sizes(ranks)
    # Every configuration of a run has this key, and most leave it to the command line.
    settings = load_settings(TrainConfig, config, [*(overrides or ()), "run_dir=unused"])
    with show_stages() as progress:
        runs = verify(settings, world_sizes, epochs, progress)
    print_parity(runs, tolerance)
    require_parity(runs, tolerance, settings.model.kind)
