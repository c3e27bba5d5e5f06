"""`evaluate`, `recommend` and `similar`: the commands for a merged model.

Heavy modules are imported inside the command that needs them, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys_dist.cli.options import (
    CutsOption,
    DeviceOption,
    FamilyOption,
    ListsOption,
    ModelArgument,
    ModelsArgument,
    PerUserOption,
    RankByOption,
    SegmentsOption,
    UsersOption,
    VerifyOption,
    name_families,
    require_writable,
    typed,
)
from recsys_dist.errors import ConfigError

if TYPE_CHECKING:
    from recsys_dist.api.model import Model
    from recsys_dist.evaluation.settings import EvaluationSettings
    from recsys_dist.inference.criterion import RankingCriterion


def evaluate(
    model_dir: ModelsArgument,
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
            metavar="RATING",
            help="Ratings of at least this value are relevant; default: the train mean, and of data without "
            "ratings everything.",
        ),
    ] = None,
    ranking_users: Annotated[
        int, typer.Option(min=0, help="Rank all items for at most this many users, a fixed draw; 0 for none.")
    ] = 20_000,
    top: CutsOption = "10",
    segments: SegmentsOption = False,
    per_user: PerUserOption = None,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    allow_train: Annotated[
        bool, typer.Option("--allow-train", help="With --split train: the error on the train ratings.")
    ] = False,
    allow_other_split: Annotated[
        bool,
        typer.Option(
            "--allow-other-split",
            help="Evaluate on a dataset with other ratings, or another split, than the dataset of training. Pairs "
            "that the model was trained on are left out.",
        ),
    ] = False,
    family: FamilyOption = None,
) -> None:
    """Measure RMSE and MAE on held-out ratings, for cold users and items too, and lists of unseen items, beside
    baselines.

    If the model has an uncertainty, also its calibration: coverage of its intervals, NLL and log-loss. Of several
    models, also the difference of each to the first, with its 95 % interval.

    Example: recsys-dist evaluate models/ml1m --dataset data/ml1m --output report.json

    Example: recsys-dist evaluate models/a models/b --dataset data/ml1m --top 5,10,20
    """
    from recsys_dist.evaluation.per_user import check_per_user_file
    from recsys_dist.evaluation.settings import EvaluationSettings, parse_tops

    require_writable(output)
    if per_user is not None:
        check_per_user_file(per_user)
    tops = parse_tops(top)
    settings = EvaluationSettings(split, relevant_from, ranking_users, tops, allow_train, allow_other_split)
    name_families(family)
    _evaluate(model_dir, dataset, settings, device, verify, output, per_user, segments)


def _evaluate(
    model_dirs: list[str],
    dataset: str,
    settings: EvaluationSettings,
    device: str,
    verify: bool,
    output: Path | None,
    per_user: Path | None,
    segments: bool,
) -> None:
    from recsys_dist.cli.show.evaluation import print_comparison, print_report
    from recsys_dist.evaluation.comparison import evaluate_folders
    from recsys_dist.evaluation.per_user import write_per_user

    comparison, evaluations = evaluate_folders(model_dirs, dataset, settings, device, verify)
    is_alone = len(model_dirs) == 1
    if output is not None:
        (comparison.reports[0] if is_alone else comparison).write(output)
    if per_user is not None:
        write_per_user(evaluations, per_user)
    if is_alone:
        print_report(comparison.reports[0], segments)
    else:
        print_comparison(comparison, segments)


def recommend(
    model_dir: ModelArgument,
    user: UsersOption = None,
    all_users: Annotated[
        bool,
        typer.Option(
            "--all-users", help="Lists for every user, written to the .parquet file that --output names."
        ),
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Items for each user.")] = 10,
    dataset: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            metavar="DATASET",
            help="Also leave out items that these users rated in any split of this prepared dataset.",
        ),
    ] = None,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also recommend items that the user has rated.")
    ] = False,
    rank_by: RankByOption = "mean",
    confidence: Annotated[float, typer.Option(help="For --rank-by lower: a probability between 0 and 1.")] = 0.9,
    seed: Annotated[
        int, typer.Option(min=0, help="For --rank-by thompson: the same seed gives the same list.")
    ] = 0,
    output: ListsOption = None,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    family: FamilyOption = None,
) -> None:
    """Print the best items for each user, by the predicted rating; items rated in training are left out.

    Example: recsys-dist recommend models/ml1m --user 42 --user 7 --top 10

    Example: recsys-dist recommend models/ml1m --all-users --output lists.parquet
    """
    from recsys_dist.api.model import load_model
    from recsys_dist.inference.criterion import RankingCriterion, parse_rank_by
    from recsys_dist.process.heap import keep_freed_memory

    if include_seen and dataset is not None:
        raise ConfigError("--include-seen and --dataset contradict each other; give one of them")
    require_writable(output)
    _require_clear_wish(user, all_users, dataset, output)
    order = RankingCriterion(parse_rank_by(rank_by), confidence, seed)
    name_families(family)
    if all_users:
        # Each block of scores reuses the memory of the previous one.
        keep_freed_memory()
    model = load_model(model_dir, device, verify)
    if user:
        _recommend_to(model, [typed(one) for one in user], output, top, include_seen, order, dataset)
    elif output is not None:
        _recommend_to_all(model, output, top, include_seen, order)


def _require_clear_wish(user: list[str] | None, all_users: bool, dataset: str | None, output: Path | None) -> None:
    """Raise `ConfigError` for contradictory or missing options of users and output."""
    from recsys_dist.inference.all_users import check_lists_file
    from recsys_dist.inference.lists import check_list_file

    if all_users:
        if user or dataset is not None or output is None:
            raise ConfigError("--all-users does not go with --user or --dataset, and needs --output FILE.parquet")
        check_lists_file(output)
    elif not user:
        raise ConfigError("give --user ID, once or more, or --all-users")
    elif output is not None:
        check_list_file(output)


def _recommend_to(
    model: Model,
    users: list[str],
    output: Path | None,
    top: int,
    include_seen: bool,
    order: RankingCriterion,
    dataset: str | None,
) -> None:
    from recsys_dist.cli.show.model import print_recommendations
    from recsys_dist.inference.lists import write_lists

    model.require_users(users)
    lists = model.recommend(users, top, include_seen, dataset, order.by, order.confidence, order.seed)
    if output is not None:
        write_lists(lists, output)
    print_recommendations(lists, order.by)


def _recommend_to_all(model: Model, output: Path, top: int, include_seen: bool, order: RankingCriterion) -> None:
    from recsys_dist.cli.show.model import print_all_lists
    from recsys_dist.cli.show.progress import show_stages
    from recsys_dist.inference.all_users import write_all_lists

    started = time.monotonic()
    with show_stages() as progress:
        num_lines = write_all_lists(model.predictor, output, top, include_seen, order, progress)
    print_all_lists(output, len(model.user_ids), num_lines, time.monotonic() - started)


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
    top: Annotated[int, typer.Option(min=1, help="Number of items or users.")] = 10,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    family: FamilyOption = None,
) -> None:
    """Print the items most similar to an item, or the users most similar to a user, by the cosine of factors.

    Example: recsys-dist similar models/ml1m --item 858 --top 10
    """
    from recsys_dist.api.model import load_model
    from recsys_dist.cli.show.model import print_similar

    if (item is None) == (user is None):
        raise ConfigError("give either --item or --user")
    name_families(family)
    model = load_model(model_dir, device, verify)
    if item is not None:
        print_similar(f"Items like {item}", model.similar_items(typed(item), top))
    elif user is not None:
        print_similar(f"Users like {user}", model.similar_users(typed(user), top))
