"""All keys of the configurations, read from the settings classes: type, default and description."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.protocols.registry import OWN, family_named
from recsys_dist.training.config import TrainConfig

NAMES = {int: "whole number", float: "number", bool: "true, false", str: "text"}
SHARED = {"min": "max", "min_user_ratings": "min_item_ratings"}
"""Keys that are described below their partner."""
SIZES = ("parse_size", "_worker_size")
"""Functions that read a size."""


@dataclass(frozen=True)
class Key:
    """One key of a section."""

    name: str
    values: str
    default: Any
    is_required: bool
    meaning: str


@dataclass(frozen=True)
class Section:
    """The keys that stand below one dotted name; `about` says what they are."""

    name: str
    about: str
    keys: tuple[Key, ...]


def preparation_sections() -> list[Section]:
    """The sections of a configuration of `prepare`."""
    return list(_sections("", PrepareConfig))


def training_sections() -> list[Section]:
    """The sections of a configuration of `train`, without `model`."""
    return [section for section in _sections("", TrainConfig) if section.name != "model"]


def model_sections() -> list[Section]:
    """The keys below `model` for each kind of model of this package that is trained."""
    kinds = {name: family_named(name).settings for name in OWN if name != "blend"}
    return [_section(f"model, kind: {name}", settings) for name, settings in kinds.items()]


def all_keys() -> set[str]:
    """Every key by its dotted name, with the names of sections."""
    found = {"model", "model.kind", "split.kind"} | {
        f"model.{key.name}" for section in model_sections() for key in section.keys
    }
    for section in [*preparation_sections(), *training_sections()]:
        below = section.name.split(",")[0]
        prefix = f"{below}." if below else ""
        found |= {f"{prefix}{key.name}" for key in section.keys} | ({below} if below else set())
    return found


def _sections(name: str, kind: type[BaseModel]) -> Iterator[Section]:
    yield _section(name, kind)
    for key, field in kind.model_fields.items():
        below = f"{name}.{key}" if name else key
        members = [one for one in _members(field.annotation) if _is_settings(one)]
        for member in members:
            chosen = f", kind: {_kind_of(member)}" if len(members) > 1 else ""
            yield from _sections(below + chosen, member)


def _section(name: str, kind: type[BaseModel]) -> Section:
    own = {key: field for key, field in kind.model_fields.items() if not _has_keys(field)}
    keys = tuple(_key(kind, key, field) for key, field in own.items() if key != "kind" or ", kind" not in name)
    return Section(name, inspect.getdoc(kind) or "", keys)


def _key(kind: type[BaseModel], name: str, field: FieldInfo) -> Key:
    default = field.get_default(call_default_factory=True)
    return Key(
        name,
        values=_values(field),
        default=None if default is PydanticUndefined else default,
        is_required=field.is_required(),
        meaning=_meanings(kind).get(name, ""),
    )


def _has_keys(field: FieldInfo) -> bool:
    return any(map(_is_settings, _members(field.annotation)))


def _members(annotation: Any) -> tuple[Any, ...]:
    origin = get_origin(annotation)
    if origin is Union or (origin is not None and origin.__name__ == "UnionType"):
        return tuple(member for one in get_args(annotation) for member in _members(one))
    if hasattr(annotation, "__metadata__"):
        return _members(annotation.__origin__)
    return (annotation,)


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _kind_of(kind: type[BaseModel]) -> str:
    return str(get_args(kind.model_fields["kind"].annotation)[0])


def _values(field: FieldInfo) -> str:
    named = list(dict.fromkeys(filter(None, map(_named, _members(field.annotation)))))
    if any(name in f"{field.annotation!r} {field.metadata!r}" for name in SIZES):
        return ", ".join(["size such as 4GiB", *(name for name in named if name != NAMES[int])])
    return ", ".join(named) + _limits(field)


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        return "list"
    return "null" if kind is type(None) else NAMES.get(kind, "")


def _limits(field: FieldInfo) -> str:
    """The bounds that the field itself declares; bounds of members of a union stand in its description."""
    signs = {
        annotated_types.Ge: ("from", "ge"),
        annotated_types.Gt: ("above", "gt"),
        annotated_types.Le: ("to", "le"),
        annotated_types.Lt: ("below", "lt"),
    }
    found = [
        f"{word} {_number(getattr(rule, attribute))}"
        for rule in field.metadata
        for sign, (word, attribute) in signs.items()
        if isinstance(rule, sign)
    ]
    return f" ({' '.join(found)})" if found else ""


def _number(value: float) -> str:
    return "2^63" if value == 2**63 else f"{value:,}"


@cache
def _meanings(kind: type[BaseModel]) -> dict[str, str]:
    """The text below each field, of the class and of the classes that it extends."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one is not BaseModel and issubclass(one, BaseModel):
            found |= _texts_below(one)
    return found


def _texts_below(kind: type[BaseModel]) -> dict[str, str]:
    (body,) = ast.parse(dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for before, after in pairwise(body.body):
        match before, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found | {name: found[other] for name, other in SHARED.items() if other in found}
