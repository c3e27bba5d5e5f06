"""Options of the commands that list items, and the ids that they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from recsys_dist.cli.options import typed
from recsys_dist.errors import ConfigError

FILE_ENDINGS = (".txt", ".csv", ".tsv", ".parquet", ".pq", ".gz", ".bz2", ".zst", ".zip")
ID_COLUMN = "item_id"
IDS_METAVAR = "FILE|ID,ID,..."

UsersOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option("--user", "-u", metavar="ID", help="User id as in the data; repeatable."),
]
LikeOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        metavar="TITLE",
        help="For a new user who gives the highest rating to the item of this title (or id); repeatable. The "
        "whole title, with or without its year, or words of it that no other title has.",
    ),
]
AllUsersOption = Annotated[
    bool,
    typer.Option("--all-users", help="Lists for every user, written to the .parquet file that --output names."),
]
ItemsOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        metavar=IDS_METAVAR,
        help="List only these items: ids separated by commas, or a file with one id a line, or CSV or Parquet "
        "with a column item_id. A file name contains a / or ends in .txt, .csv, .tsv or .parquet. Repeatable.",
    ),
]
ExcludeOption = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(metavar=IDS_METAVAR, help="Never list these items; given as for --items."),
]
SeenElsewhereOption = Annotated[
    Optional[str],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        metavar="DATASET",
        help="Also leave out items that these users rated in any split of this prepared dataset.",
    ),
]
IncludeSeenOption = Annotated[
    bool, typer.Option("--include-seen", help="Also recommend items that the user has rated.")
]
RankByOption = Annotated[
    str,
    typer.Option(
        help="mean: the predicted rating. lower: the bound that the expected rating exceeds with probability "
        "--confidence. thompson: a draw from the posteriors of the user and the items."
    ),
]
ConfidenceOption = Annotated[float, typer.Option(help="For --rank-by lower: a probability between 0 and 1.")]
SeedOption = Annotated[int, typer.Option(min=0, help="For --rank-by thompson: the same seed gives the same list.")]
ListsOption = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation at run time
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Also write the lists to a local file: .json or .csv; .parquet with --all-users.",
    ),
]


def ids_given(option: str, values: list[str] | None) -> list[str] | None:
    """The ids that an option names, in files or itself; None if the option is not given.

    Raises `ConfigError` for a value that may be a file or an id, `DataError` for a file that cannot be read.
    """
    if values is None:
        return None
    ids: list[str] = []
    for value in values:
        if "/" in value or value.lower().endswith(FILE_ENDINGS):
            from recsys_dist.inference.tables.id_list import read_ids  # noqa: PLC0415

            ids += read_ids(option, value, ID_COLUMN).to_pylist()
        elif Path(value).is_file():
            raise ConfigError(
                f"{option} {value}: a file of this name is here; write ./{value} if you mean the file"
            )
        else:
            ids += [part for part in typed(value).split(",") if part]
    return ids
