"""Recommendation lists, and their files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.inference.frames import as_pandas
from recsys_dist.plain_text import text_table
from recsys_dist.storage.folder import Folder

LIST_FORMATS = (".json", ".csv")


class RecommendedItem(NamedTuple):
    """One line of a list: `score` is the predicted rating, or the score of a model that ranks; `std` its standard
    deviation or None."""

    item_id: str
    title: str | None
    score: float
    std: float | None


@dataclass(frozen=True)
class Recommendations:
    """The best items by the ranking criterion, best first; fewer than requested if no more are unseen.

    `scores` are predicted ratings, or the scores of a model that ranks, whatever the criterion.
    """

    user_id: str
    item_ids: list[str]
    titles: list[str | None]
    scores: NDArray[np.float32]
    stds: NDArray[np.float32] | None

    def __repr__(self) -> str:
        whose = repr(self.user_id) if self.user_id else "a new user"
        head = f"{len(self.item_ids)} recommendations for {whose}"
        knows_std, is_titled = self.stds is not None, any(title is not None for title in self.titles)
        names = ["score", *["std"] * knows_std, "item_id", *["title"] * is_titled]
        cells = [
            [f"{row.score:.4f}", *([f"{row.std:.4f}"] if knows_std else []), row.item_id]
            + ([row.title or ""] if is_titled else [])
            for row in self.rows()
        ]
        return f"{head}\n{text_table([names, *cells], numbers=1 + knows_std)}" if cells else head

    def rows(self) -> list[RecommendedItem]:
        """The items, numbers rounded to four decimals."""
        scores = [round(score, 4) for score in self.scores.tolist()]
        stds = [None] * len(scores) if self.stds is None else [round(std, 4) for std in self.stds.tolist()]
        return list(map(RecommendedItem, self.item_ids, self.titles, scores, stds))


class RecommendationLists(list[Recommendations]):
    """One list per requested user, in the order of the request."""

    def __repr__(self) -> str:
        return "\n\n".join(map(repr, self)) if self else "no recommendations"

    def to_arrow(self) -> pa.Table:
        """One row per user and rank: user_id, rank from 1, item_id, title, score, std (or null)."""
        places = [(one, place) for one in self for place in range(len(one.item_ids))]
        columns = {
            "user_id": pa.array([one.user_id for one, _ in places], pa.string()),
            "rank": pa.array([place + 1 for _, place in places], pa.int32()),
            "item_id": pa.array([one.item_ids[place] for one, place in places], pa.string()),
            "title": pa.array([one.titles[place] for one, place in places], pa.string()),
            "score": pa.array([float(one.scores[place]) for one, place in places], pa.float32()),
            "std": pa.array(
                [None if one.stds is None else float(one.stds[place]) for one, place in places], pa.float32()
            ),
        }
        return pa.table(columns)

    def to_pandas(self) -> Any:
        """The table of `to_arrow` as a DataFrame."""
        return as_pandas(self.to_arrow())


def check_list_file(path: Path) -> None:
    """Raise `ConfigError` if the name of the output file does not end in .json or .csv."""
    if path.suffix not in LIST_FORMATS:
        raise ConfigError(f"--output {path}: the name must end in .json or .csv")


def write_lists(lists: Sequence[Recommendations], path: Path) -> None:
    """Write all lists as JSON (one object per user) or CSV (one line per user and item)."""
    check_list_file(path)
    text = _as_json(lists) if path.suffix == ".json" else _as_csv(lists)
    write_whole(path, text)


def write_whole(path: Path, text: str) -> None:
    """Write a local file whole; after a failure the file is unchanged."""
    final = path.resolve()
    with Folder(str(final.parent)).writer(final.name) as stream:
        # A page may contain file names that are not UTF-8.
        stream.write(text.encode("utf-8", "backslashreplace"))


def _as_json(lists: Sequence[Recommendations]) -> str:
    tree = [{"user_id": one.user_id, "items": [item._asdict() for item in one.rows()]} for one in lists]
    return json.dumps(tree, indent=1, ensure_ascii=False) + "\n"


def _as_csv(lists: Sequence[Recommendations]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["user_id", "rank", *RecommendedItem._fields])
    for one in lists:
        writer.writerows([one.user_id, rank, *item] for rank, item in enumerate(one.rows(), start=1))
    return text.getvalue()
