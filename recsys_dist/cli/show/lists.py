"""Results of `recommend`, `similar` and `predict`, on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.console import new_console

if TYPE_CHECKING:
    from pathlib import Path

    from recsys_dist.inference.all_users import Written
    from recsys_dist.inference.criterion import RankBy
    from recsys_dist.inference.lists import Recommendations
    from recsys_dist.inference.similar import Similar
    from recsys_dist.inference.tables.predict import PredictedPairs

RANKED_BY = {"mean": "", "lower": ", by the lower bound", "thompson": ", by a Thompson sample"}
"""The ranking criterion in the title of a list, since the predicted ratings do not show it."""


def note_better_rankers(kind: str) -> None:
    """Print on stderr that other kinds of models rank items better than a model that predicts ratings."""
    note = f"note: a model of kind {kind} predicts ratings; kind ials or ease, or a blend, ranks items better"
    new_console(stderr=True).print(note, soft_wrap=True)


def print_recommendations(
    lists: Sequence[Recommendations], rank_by: RankBy = "mean", predicts_ratings: bool = True, new_user: str = ""
) -> None:
    """Print one table per user: rank, title if any item has one, item id, predicted rating or score.

    `new_user` describes the user of a list without a user id.
    """
    console, has_titles = new_console(), any(title is not None for one in lists for title in one.titles)
    for recommended in lists:
        whose = f"User {recommended.user_id}" if recommended.user_id else new_user
        if not recommended.item_ids:
            reason = "the list is empty: no item that it may contain is unseen"
            console.print(f"{whose}: {reason}", soft_wrap=True)
            continue
        head = f"{whose}{RANKED_BY[rank_by]}"
        # A long title of a table would be broken into lines as narrow as the table.
        if not recommended.user_id:
            console.print(head, soft_wrap=True)
        console.print(_list(recommended, head if recommended.user_id else "", has_titles, predicts_ratings))


def _list(recommended: Recommendations, head: str, has_titles: bool, predicts_ratings: bool) -> Table:
    table = _ranked(head, has_titles, "item", "predicted" if predicts_ratings else "score")
    for rank, item in enumerate(recommended.rows(), start=1):
        deviation = "" if item.std is None else f" ± {item.std:.2f}"
        figure = f"{item.score:.2f}{deviation}" if predicts_ratings else f"{item.score:.4f}"
        table.add_row(f"{rank}", *([item.title or ""] * has_titles), item.item_id, figure)
    return table


def print_all_lists(path: Path, num_users: int, written: Written, seconds: float) -> None:
    """Print what `recommend --all-users` has written."""
    empty = f", {written.num_empty:,} of them without an unseen item" if written.num_empty else ""
    counts = f"{written.num_lines:,} lines for {num_users:,} users{empty}"
    message = f"{path}: {counts} in {seconds:.1f} s, {num_users / max(seconds, 1e-9):,.0f} users/s"
    new_console().print(message, soft_wrap=True)


def print_predicted(path: Path, counts: PredictedPairs, seconds: float) -> None:
    """Print what `predict` has written."""
    speed = f"{counts.num_pairs / max(seconds, 1e-9):,.0f} pairs/s"
    users, items = counts.num_cold["users"], counts.num_cold["items"]
    cold = f"; without train ratings of the user: {users:,}, of the item: {items:,}" if users or items else ""
    new_console().print(f"{path}: {counts.num_pairs:,} pairs in {seconds:.1f} s, {speed}{cold}", soft_wrap=True)


def print_similar(title: str, similar: Similar) -> None:
    """Print the most similar items or users: rank, title if any has one, id, similarity."""
    has_titles = any(name is not None for name in similar.titles)
    table = _ranked(title, has_titles, "id", "similarity")
    for rank, (raw_id, name, similarity) in enumerate(zip(*similar, strict=True), start=1):
        table.add_row(f"{rank}", *([name or ""] * has_titles), raw_id, f"{similarity:.4f}")
    new_console().print(table)


def _ranked(title: str, has_titles: bool, id_name: str, figure: str) -> Table:
    table = Table(title=title or None, title_justify="left")
    table.add_column("#", justify="right", no_wrap=True)
    for column in (*(["title"] * has_titles), id_name):
        table.add_column(column, overflow="fold")
    table.add_column(figure, justify="right", no_wrap=True)
    return table
