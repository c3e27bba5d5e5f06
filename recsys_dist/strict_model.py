"""The base of what is read back from files: states, manifests and reports with types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class StrictModel(BaseModel):
    """Immutable; a key that is not declared, or a number that is not finite, is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


StrictT = TypeVar("StrictT", bound=BaseModel)


def validated(kind: type[StrictT], tree: Any, error: Callable[[str], Exception]) -> StrictT:
    """Plain values as a `kind`. Raises what `error` makes of one line: the first key and what is wrong with it."""
    try:
        return kind.model_validate(tree)
    except ValidationError as problems:
        raise error(first_problem(problems)) from None


def first_problem(problems: ValidationError) -> str:
    """The first key that does not validate, and why, in one line."""
    first = problems.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
