"""Settings from one YAML file and `key.sub=value` overrides, validated.

Each part of the program declares its own settings class; this module reads the file, applies the overrides and
explains errors. An unknown key, a wrong type or an impossible combination is a one-line `ConfigError` that names
the key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from recsys_dist.errors import ConfigError


class Settings(BaseModel):
    """Base class of all settings: immutable; undeclared keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    renamed: ClassVar[dict[str, str]] = {}
    """Keys under another name: that name -> the name to use."""

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


SettingsT = TypeVar("SettingsT", bound=Settings)

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
WORDS = {"null": None, "true": True, "false": False}
NOT_A_TEXT = {"string_type", "tuple_type"}
"""pydantic's error types for a number in place of text, or of a list of paths."""


@dataclass(frozen=True)
class Written:
    """Settings as written in a file and in overrides, not yet validated."""

    tree: dict[str, Any]
    texts: dict[str, str]
    """Original text of the overrides that were parsed as numbers or booleans, by dotted key."""
    source: str

    def settings(self, kind: type[SettingsT]) -> SettingsT:
        """Validate as `kind`. Raises `ConfigError`."""
        for key in _wants_text(kind, self.tree) & self.texts.keys():
            _put(self.tree, key.split("."), self.texts[key])
        return parse_settings(kind, self.tree, self.source)


def load_settings(kind: type[SettingsT], path: str | Path, overrides: Sequence[str] = ()) -> SettingsT:
    """Read `path`, apply `overrides` and validate as `kind`. Raises `ConfigError`."""
    return read_written(path, overrides).settings(kind)


def read_written(path: str | Path, overrides: Sequence[str] = ()) -> Written:
    """Read `path` and apply `overrides` (`key.sub=value`).

    The value of an override is YAML if it begins with a bracket, a brace or a quotation mark; otherwise null,
    true, false or a number if the key takes one; otherwise plain text. `\\t` is a tab.
    """
    tree = _read_yaml(Path(path))
    texts: dict[str, str] = {}
    for override in overrides:
        _apply_override(tree, texts, override)
    return Written(tree, texts, str(path))


def parse_settings(kind: type[SettingsT], tree: dict[str, Any], source: str) -> SettingsT:
    """Validate a tree of plain values as `kind`; the `ConfigError` names `source`."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_explain(error, kind, tree))) from None


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a mapping with a duplicate key, of which YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if name in seen:
                where = key.start_mark
                raise ConfigError(f"{where.name} line {where.line + 1}: duplicate key {key.value!r}")
            seen.add(name)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


def _load_yaml(text: str, name: str) -> Any:
    loader = _UniqueKeyLoader(text)
    loader.name = name
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = _load_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold `key: value` lines at its top level")
    return tree


def _apply_override(tree: dict[str, Any], texts: dict[str, str], override: str) -> None:
    """Set one key of the tree. `texts` keeps the original text of a parsed value."""
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {override!r} is not of the form key.sub=value")
    value = _parse_value(text, name=f"override {override!r}")
    _put(tree, keys, value, name=f"override {override!r}")
    for key in [key for key in texts if f"{key}.".startswith(f"{dotted}.")]:
        del texts[key]
    if isinstance(value, bool | int | float):
        texts[dotted] = text


def _parse_value(text: str, name: str) -> Any:
    if text == "\\t":
        return "\t"  # a tab is hard to type
    if text[:1] in {"[", "{", '"', "'"}:
        try:
            return _load_yaml(text, name)
        except yaml.YAMLError:
            return text  # a glob such as [ab]*.csv, not a list
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) and not text.lstrip("-+").isdigit() else text


def _put(tree: dict[str, Any], keys: Sequence[str], value: Any, name: str = "") -> None:
    node = tree
    for key in keys[:-1]:
        child = {} if node.get(key) is None else node[key]
        node[key] = child
        if not isinstance(child, dict):
            raise ConfigError(f"{name}: {key!r} is a value and has no keys below it")
        node = child
    node[keys[-1]] = value


def _wants_text(kind: type[BaseModel], tree: dict[str, Any]) -> set[str]:
    """The keys whose only error is that their values are not text."""
    problems: dict[str, set[str]] = {}
    try:
        kind.model_validate(tree)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            keys, _ = _locate(kind, problem["loc"], tree)
            problems.setdefault(".".join(keys), set()).add(problem["type"])
    return {key for key, types in problems.items() if types <= NOT_A_TEXT}


def _explain(error: ValidationError, kind: type[BaseModel], tree: Any) -> Iterable[str]:
    unknown: dict[tuple[str, ...], list[str]] = {}
    for problem in error.errors(include_url=False):
        keys, beside = _locate(kind, problem["loc"], tree)
        key = ".".join(keys) or "configuration"
        match problem["type"]:
            case "extra_forbidden":
                unknown.setdefault(tuple(beside), []).append(key)
            case "missing":
                yield f"key {key!r} is required; give it in the file or as {key}=VALUE"
            case "union_tag_not_found":
                yield f"key '{key}.kind' is required; give it in the file or as {key}.kind=VALUE"
            case "union_tag_invalid":
                yield f"{key}.kind: {problem['ctx']['tag']!r} is not one of {problem['ctx']['expected_tags']}"
            case "string_unicode":
                yield f"{key}: contains bytes that are not UTF-8; rename the file or folder"
            case _:
                yield f"{key}: {problem['msg'].removeprefix('Value error, ')}"
    for allowed, found in unknown.items():
        message = f"unknown key{'s' * (len(found) > 1)} {', '.join(map(repr, found))}"
        yield message + (f"; allowed here: {', '.join(allowed)}" if allowed else "")


def _locate(kind: type[BaseModel], location: tuple[int | str, ...], tree: Any) -> tuple[list[str], list[str]]:
    """The parts of the key at `location` as written in the file, and the keys declared beside it.

    pydantic adds the chosen member of a union to the location; it is not a key of the file.
    """
    node: Any = kind
    keys: list[str] = []
    beside: list[str] = []
    for part in location:
        model = _as_model(node)
        if model is not None:
            field = model.model_fields.get(str(part))
            keys, beside = [*keys, str(part)], list(model.model_fields)
            node = field.annotation if field is not None else None
            if issubclass(model, Settings) and (below := model.settings_below(str(part), tree)) is not None:
                node = below
        elif (member := _union_member(node, part)) is not None:
            node = member
        else:
            keys, beside, node = [*keys, str(part)] if isinstance(part, int) else keys, [], None
    return keys, beside


def _as_model(node: Any) -> type[BaseModel] | None:
    """The settings class of an annotation, optional or not; None for other types."""
    members = [member for member in getattr(node, "__args__", (node,)) if member is not type(None)]
    only = members[0] if len(members) == 1 else None
    return only if isinstance(only, type) and issubclass(only, BaseModel) else None


def _union_member(node: Any, tag: int | str) -> type[BaseModel] | None:
    """The member of a discriminated union whose `kind` can be `tag`."""
    for member in getattr(node, "__args__", ()):
        model = _as_model(member)
        field = model.model_fields.get("kind") if model is not None else None
        if field is not None and tag in getattr(field.annotation, "__args__", ()):
            return model
    return None


def auto_or_number(least: int, most: int | None = None) -> BeforeValidator:
    """Validate `auto`, or a whole number from `least` to `most`."""
    number = TypeAdapter(Annotated[int, Field(ge=least, le=most)])

    def validate(value: Any) -> Any:
        if isinstance(value, str) and value == "auto":
            return value
        try:
            return number.validate_python(value)
        except ValidationError:
            upwards = "on" if most is None else f"to {most}"
            told = "null" if value is None else repr(value)
            raise ValueError(f"must be auto or a whole number from {least} {upwards}, not {told}") from None

    return BeforeValidator(validate)
