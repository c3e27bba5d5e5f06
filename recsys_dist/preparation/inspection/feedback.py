"""Decides whether the rows of a sample are interactions, because no column can be their rating."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from recsys_dist.preparation.inspection.column_facts import NUMBERS, ColumnFacts
from recsys_dist.preparation.inspection.column_roles import Role, is_row_number
from recsys_dist.preparation.inspection.time_columns import is_time_name, units_of


def are_interactions(columns: Sequence[ColumnFacts], roles: Mapping[str, Role], missing: Collection[str]) -> bool:
    """Whether only the rating is missing, and no column that is left could be it.

    If the names do not tell user and item, no column may be left.
    """
    taken = {role.column.position for role in roles.values()}
    rest = [column for column in columns if column.position not in taken]
    is_guess = any(role.is_guess for field, role in roles.items() if field != "timestamp")
    return set(missing) == {"rating"} and not any(is_guess or _may_be_rating(column) for column in rest)


def _may_be_rating(column: ColumnFacts) -> bool:
    name = column.name or ""
    is_time = is_time_name(name) or bool(units_of(column))
    return column.kind in NUMBERS and not is_time and not is_row_number(column.name)
