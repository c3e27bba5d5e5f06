"""Base class of typed data read back from files: states, manifests, reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class StrictModel(BaseModel):
    """Immutable; undeclared keys and numbers that are not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


StrictT = TypeVar("StrictT", bound=BaseModel)


def validated(kind: type[StrictT], tree: Any, error: Callable[[str], Exception]) -> StrictT:
    """Validate plain values as `kind`. Raises `error(line)`; the line names the first invalid key and why."""
    try:
        return kind.model_validate(tree)
    except ValidationError as problems:
        raise error(first_problem(problems)) from None


def first_problem(problems: ValidationError) -> str:
    """The first invalid key and why it is invalid, in one line."""
    first = problems.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
