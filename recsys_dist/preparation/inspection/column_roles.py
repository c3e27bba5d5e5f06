"""Guesses which columns are user, item, rating and timestamp, by their names and otherwise by their values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from recsys_dist.errors import ConfigError
from recsys_dist.preparation.inspection.column_facts import NUMBERS, ColumnFacts
from recsys_dist.preparation.inspection.time_columns import DATES, READABLE, is_time_name, unit_of
from recsys_dist.preparation.parsing.rejects import shorten
from recsys_dist.preparation.settings.input import Column
from recsys_dist.suggestions import did_you_mean

NAMES: dict[str, tuple[str, ...]] = {
    "user": (
        *("userid", "user", "uid", "username", "customerid", "customer", "reviewerid", "reviewer", "accountid"),
        *("account", "visitorid", "visitor", "memberid", "member"),
    ),
    "item": (
        *("itemid", "item", "iid", "movieid", "movie", "filmid", "film", "productid", "product", "parentasin"),
        *("asin", "bookid", "book", "isbn", "artistid", "artist", "trackid", "track", "songid", "song", "gameid"),
        *("game", "businessid", "business", "animeid", "anime", "jokeid", "joke", "recipeid", "recipe"),
    ),
    "rating": (
        "rating",
        "ratings",
        "stars",
        "star",
        "score",
        "overall",
        "bookrating",
        "starrating",
        "rate",
        "grade",
    ),
    "timestamp": (
        *("timestamp", "ts", "time", "unixtime", "unixreviewtime", "datetime", "date", "reviewtime", "reviewdate"),
        *("ratingdate", "createdat", "created", "ratedat", "dateadded"),
    ),
}
"""Names in lower case without punctuation, most likely first."""
NUMBERING = ("", "index", "unnamed0")
"""Names of row number columns."""
MAX_RATING, MAX_RATINGS = 100, 201
"""The largest rating, and the largest number of distinct ratings, of a guess by values."""
FEW = 10
"""Up to this number of distinct values need not repeat to be ratings."""
COARSE_UNITS = {"seconds", "milliseconds"}
"""Times in finer units are as large as the random ids of some services."""
NUM_FIELDS = 4
"""Number of fields of a rating with its timestamp."""


@dataclass(frozen=True)
class Role:
    """The column assigned to a field."""

    column: ColumnFacts
    is_guess: bool
    """Whether it was chosen by its values or from several suitable names, not by a unique name."""


def is_known_name(name: str) -> bool:
    """Whether the name suggests a role."""
    return any(_bare(name) in names for names in NAMES.values())


def is_row_number(name: str | None) -> bool:
    """Whether the name suggests a column of row numbers."""
    return name is not None and _bare(name) in NUMBERING


def guess_roles(columns: Sequence[ColumnFacts], fields: Sequence[str]) -> dict[str, Role]:
    """The roles of those `fields` for which a column is found."""
    names = [column.name for column in columns]
    usable = [column for column in columns if column.name is None or _can_be_named(column.name, names)]
    roles: dict[str, Role] = {}
    for field in fields:
        role = _by_name(field, _rest(usable, roles))
        if role is not None:
            roles[field] = role
    for field, find in _BY_VALUES.items():
        if field in fields and field not in roles:
            rest = [column for column in _rest(usable, roles) if column.kind != "empty"]
            is_scarce = field == "rating" and len(rest) < len(set(fields) - roles.keys() - {"timestamp"})
            found = find(_surely_ratings(rest) if is_scarce else rest)
            if found is not None:
                roles[field] = Role(found, is_guess=True)
    return {field: roles[field] for field in fields if field in roles}


def chosen_roles(
    columns: Sequence[ColumnFacts], fields: Sequence[str], chosen: Mapping[str, Column | None], file: str
) -> dict[str, Role]:
    """The roles of columns that the user has chosen, by name or by position from 0; None is no column.

    Raises `ConfigError` for a column that is missing or ambiguous in `file`, and for a field that is not a column.
    """
    given = {field: column for field, column in chosen.items() if column is not None}
    return {field: Role(_chosen(columns, fields, field, column, file), False) for field, column in given.items()}


def _chosen(
    columns: Sequence[ColumnFacts], fields: Sequence[str], field: str, wanted: Column, file: str
) -> ColumnFacts:
    if field not in fields:
        raise ConfigError(
            f"{field}: cannot be a column of {file}, because its item lines name the {field} of the rows below"
        )
    found = [
        column for column in columns if wanted == (column.position if isinstance(wanted, int) else column.name)
    ]
    if len(found) != 1:
        shown = ", ".join(str(column.reference) for column in columns)
        problem = "more than one column" if found else "no column"
        hint = "" if found else did_you_mean(str(wanted), [str(column.reference) for column in columns])
        raise ConfigError(f"{field}: {file} has {problem} {wanted!r}; it has: {shorten(shown)}{hint}")
    return found[0]


def complete_roles(
    columns: Sequence[ColumnFacts], fields: Sequence[str], known: Mapping[str, Role]
) -> dict[str, Role]:
    """The known roles, and guesses for the other fields from the other columns."""
    guessed = guess_roles(_rest(columns, known), [field for field in fields if field not in known])
    roles = {**guessed, **known}
    return {field: roles[field] for field in fields if field in roles}


def _can_be_named(name: str, names: Sequence[str | None]) -> bool:
    return _bare(name) not in NUMBERING and names.count(name) == 1


def _rest(columns: Sequence[ColumnFacts], roles: Mapping[str, Role]) -> list[ColumnFacts]:
    taken = {role.column.position for role in roles.values()}
    return [column for column in columns if column.position not in taken]


def _by_name(field: str, columns: Sequence[ColumnFacts]) -> Role | None:
    known = NAMES[field]
    named = [column for column in columns if column.name is not None and _bare(column.name) in known]
    if field == "timestamp":
        named = [column for column in named if column.kind in READABLE]
    if not named:
        return None
    return Role(min(named, key=lambda column: known.index(_bare(column.name or ""))), is_guess=len(named) > 1)


def _bare(name: str) -> str:
    return "".join(sign for sign in name.casefold() if sign.isalnum())


def _timestamp(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    """The last column of dates, or of numbers in the range of recent times."""
    is_last_of_all = len(columns) >= NUM_FIELDS
    for column in reversed(columns):
        if _is_time(column, is_last_of_all):
            return column
        is_last_of_all = False
    return None


def _is_time(column: ColumnFacts, is_last_of_all: bool) -> bool:
    if column.kind not in READABLE or column.kind in DATES:
        return column.kind in DATES
    low, high = map(unit_of, column.span)
    is_sure = is_last_of_all or (column.name is not None and is_time_name(column.name))
    return low is not None and low == high and (low in COARSE_UNITS or is_sure)


def _rating(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    """The best column of few numbers in a small range: prefers decimals, then later columns, then fewer values."""
    candidates = [(place, column) for place, column in enumerate(columns) if _is_rating(column)]

    def likelihood(candidate: tuple[int, ColumnFacts]) -> tuple[bool, int, int]:
        place, column = candidate
        return column.kind != "whole numbers", min(place, 2), -column.num_distinct

    return max(candidates, key=likelihood)[1] if candidates else None


def _surely_ratings(columns: Sequence[ColumnFacts]) -> list[ColumnFacts]:
    """The last column if it can hardly be items, for files with a user or an item, but not both, beside it."""
    return [column for column in columns[-1:] if column.kind != "whole numbers" or column.num_distinct <= FEW]


def _is_rating(column: ColumnFacts) -> bool:
    if column.kind not in NUMBERS or not 1 < column.num_distinct <= MAX_RATINGS:
        return False
    if column.num_distinct > max(FEW, column.num_values / 2):
        return False
    return max(map(abs, column.span)) <= MAX_RATING


def _id(columns: Sequence[ColumnFacts]) -> ColumnFacts | None:
    """The first column that may hold ids."""
    return next((column for column in columns if column.kind in {"whole numbers", "text"}), None)


_BY_VALUES: dict[str, Callable[[Sequence[ColumnFacts]], ColumnFacts | None]] = {
    "timestamp": _timestamp,
    "rating": _rating,
    "user": _id,
    "item": _id,
}
