"""`recommend` and `similar`: the commands that list items for users, and items or users like one.

Heavy modules are imported inside the command that needs them, so that `--help` is fast.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from recsys_dist.cli.list_options import (
    AllUsersOption,
    ConfidenceOption,
    ExcludeOption,
    IncludeSeenOption,
    ItemsOption,
    LikeOption,
    ListsOption,
    RankByOption,
    SeedOption,
    SeenElsewhereOption,
    UsersOption,
    ids_given,
)
from recsys_dist.cli.options import (
    DeviceOption,
    FamilyOption,
    ModelArgument,
    VerifyOption,
    name_families,
    require_writable,
    typed,
)
from recsys_dist.errors import ConfigError

if TYPE_CHECKING:
    from recsys_dist.api.model import Model
    from recsys_dist.inference.criterion import RankingCriterion
    from recsys_dist.inference.lists import Recommendations


@dataclass(frozen=True)
class _Wish:
    """What the lists of one command contain, and where they go."""

    top: int
    include_seen: bool
    order: RankingCriterion
    items: list[str] | None
    exclude: list[str] | None
    output: Path | None


def recommend(
    model_dir: ModelArgument,
    user: UsersOption = None,
    like: LikeOption = None,
    all_users: AllUsersOption = False,
    top: Annotated[int, typer.Option(min=1, help="Items for each user.")] = 10,
    items: ItemsOption = None,
    exclude: ExcludeOption = None,
    dataset: SeenElsewhereOption = None,
    include_seen: IncludeSeenOption = False,
    rank_by: RankByOption = "mean",
    confidence: ConfidenceOption = 0.9,
    seed: SeedOption = 0,
    output: ListsOption = None,
    device: DeviceOption = "cpu",
    verify: VerifyOption = True,
    family: FamilyOption = None,
) -> None:
    """Print the best items for each user, by the predicted rating; items rated in training are left out.

    Example: recsys-dist recommend models/ml1m --user 42 --user 7 --top 10

    Example: recsys-dist recommend models/ml1m --like "toy story" --like "Heat (1995)"

    Example: recsys-dist recommend models/ml1m --all-users --items in_stock.txt --output lists.parquet
    """
    from recsys_dist.api.model import load_model
    from recsys_dist.cli.show.lists import note_better_rankers
    from recsys_dist.inference.criterion import RankingCriterion, parse_rank_by
    from recsys_dist.process.heap import keep_freed_memory

    if include_seen and dataset is not None:
        raise ConfigError("--include-seen and --dataset contradict each other; give one of them")
    require_writable(output)
    _require_clear_wish(user, like, all_users, dataset, output)
    order = RankingCriterion(parse_rank_by(rank_by), confidence, seed)
    chosen, excluded = ids_given("--items", items), ids_given("--exclude", exclude)
    wish = _Wish(top, include_seen, order, chosen, excluded, output)
    name_families(family)
    if all_users:
        # Each block of scores reuses the memory of the previous one.
        keep_freed_memory()
    model = load_model(model_dir, device, verify)
    if all_users:
        _recommend_to_all(model, wish)
    elif like:
        _recommend_to_new(model, [typed(one) for one in like], wish)
    else:
        _recommend_to(model, [typed(one) for one in user or ()], wish, dataset)
    if model.predictor.scorer.predicts_ratings:
        note_better_rankers(model.manifest.kind)


def _require_clear_wish(
    user: list[str] | None, like: list[str] | None, all_users: bool, dataset: str | None, output: Path | None
) -> None:
    """Raise `ConfigError` for contradictory or missing options of users and output."""
    from recsys_dist.inference.all_users import check_lists_file
    from recsys_dist.inference.lists import check_list_file

    if all_users:
        if user or like or dataset is not None or output is None:
            raise ConfigError(
                "--all-users does not go with --user, --like or --dataset, and needs --output FILE.parquet"
            )
        check_lists_file(output)
        return
    if like and (user or dataset is not None):
        raise ConfigError("--like is for a new user, and does not go with --user or --dataset")
    if not (user or like):
        raise ConfigError("give --user ID, once or more, --like TITLE, or --all-users")
    if output is not None:
        check_list_file(output)


def _recommend_to(model: Model, users: list[str], wish: _Wish, dataset: str | None) -> None:
    model.require_users(users)
    order = wish.order
    lists = model.recommend(
        *(users, wish.top, wish.include_seen, dataset, order.by, order.confidence, order.seed),
        items=wish.items,
        exclude=wish.exclude,
    )
    _show(model, lists, wish)


def _recommend_to_new(model: Model, titles: list[str], wish: _Wish) -> None:
    """Lists for a new user, who gives the highest rating of the data to the items of these titles."""
    liked = list(dict.fromkeys(map(model.item_by_title, titles)))
    user = model.fold_in(liked, [model.manifest.rating.max] * len(liked))
    order = wish.order
    found = user.recommend(
        *(wish.top, wish.include_seen, order.by, order.confidence, order.seed), wish.items, wish.exclude
    )
    _, names = model.catalog.describe(model.item_ids.find(liked))
    shown = ", ".join(name or item_id for item_id, name in zip(liked, names, strict=True))
    _show(model, [found], wish, f"A new user who likes {shown}")


def _show(model: Model, lists: list[Recommendations], wish: _Wish, new_user: str = "") -> None:
    from recsys_dist.cli.show.lists import print_recommendations
    from recsys_dist.inference.lists import write_lists

    if wish.output is not None:
        write_lists(lists, wish.output)
    print_recommendations(lists, wish.order.by, model.predictor.scorer.predicts_ratings, new_user)


def _recommend_to_all(model: Model, wish: _Wish) -> None:
    from recsys_dist.cli.show.lists import print_all_lists
    from recsys_dist.cli.show.progress import show_stages
    from recsys_dist.inference.all_users import write_all_lists
    from recsys_dist.inference.items.choice import ItemChoice

    assert wish.output is not None, "the options were checked"
    started = time.monotonic()
    choice = ItemChoice.of(model.catalog, wish.items, wish.exclude)
    with show_stages() as progress:
        written = write_all_lists(
            *(model.predictor, wish.output, wish.top, wish.include_seen, wish.order, progress, choice)
        )
    print_all_lists(wish.output, len(model.user_ids), written, time.monotonic() - started)


def similar(
    model_dir: ModelArgument,
    item: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--item", "-i", metavar="ID", help="Item id as in the data."),
    ] = None,
    title: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--title", "-t", metavar="TITLE", help="The item of this title, or with words that no other title has."
        ),
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
    """Print the items most similar to an item, or the users most similar to a user, by the cosine of factors,
    shrunk where few train ratings are behind it.

    Example: recsys-dist similar models/ml1m --title "toy story" --top 10
    """
    from recsys_dist.api.model import load_model
    from recsys_dist.cli.show.lists import print_similar

    if [item, title, user].count(None) != 2:
        raise ConfigError("give one of --item, --title and --user")
    name_families(family)
    model = load_model(model_dir, device, verify)
    if user is not None:
        print_similar(f"Users like {user}", model.similar_users(typed(user), top))
        return
    item_id = typed(item) if item is not None else model.item_by_title(typed(title or ""))
    (name,) = model.catalog.describe(model.item_ids.find([item_id]))[1] if item_id in model.item_ids else (None,)
    shown = item_id if name is None else f"{name} ({item_id})"
    print_similar(f"Items like {shown}", model.similar_items(item_id, top))
