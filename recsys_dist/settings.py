"""The base class of all settings, and what a whole configuration is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, model_validator


@dataclass(frozen=True)
class Purpose:
    """What a whole configuration is for, by which an error tells it from that of another command."""

    command: str
    section: str
    """A key that every configuration of the command has."""
    example: str
    """A shipped configuration."""
    path_key: str
    """The key that a path without `key=` is probably meant for."""
    others: Mapping[str, str]
    """Keys at the top of other commands' configurations: that key -> the command."""


class Settings(BaseModel):
    """Base class of all settings: immutable; undeclared keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    renamed: ClassVar[dict[str, str]] = {}
    """Keys under another name: that name -> the name to use."""

    purpose: ClassVar[Purpose | None] = None
    """Of a class that a command reads whole."""

    @classmethod
    def settings_below(cls, key: str, tree: Any) -> type[BaseModel] | None:  # noqa: ARG003
        """The settings class of `key` if the content of `tree` decides it; None if the annotation does."""
        return None

    @model_validator(mode="before")
    @classmethod
    def _has_no_truth_values_for_numbers(cls, tree: Any) -> Any:
        """Refuse keys under another name, and booleans for numbers: pydantic reads true as 1."""
        for name, value in tree.items() if isinstance(tree, dict) else ():
            if name in cls.renamed:
                raise ValueError(f"{name} is called {cls.renamed[name]}")
            field = cls.model_fields.get(name)
            if isinstance(value, bool) and field is not None and _takes(field.annotation) == {"numbers"}:
                raise ValueError(f"{name} takes a number, not {str(value).lower()}")
        return tree


def _takes(annotation: Any) -> set[str]:
    """Whether a field takes numbers, truth values or both, alone or in a list."""
    kinds = {int: {"numbers"}, float: {"numbers"}, bool: {"truth values"}}
    return set().union(kinds.get(annotation, set()), *map(_takes, get_args(annotation)))
