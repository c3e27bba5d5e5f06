"""Settings from one YAML file and `key.sub=value` overrides, validated.

Each part of the program declares its own settings class (settings.py); this module reads the file and applies the
overrides. An unknown key, a wrong type or an impossible combination is a one-line `ConfigError` that names the key
(config_errors.py).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, Field, TypeAdapter, ValidationError

from recsys_dist.config_errors import explain, locate, no_configuration
from recsys_dist.errors import ConfigError
from recsys_dist.settings import Purpose, Settings

__all__ = ["Settings", "Written", "auto_or_number", "load_settings", "parse_settings", "read_written"]

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
    return read_written(kind, path, overrides).settings(kind)


def read_written(kind: type[Settings], path: str | Path, overrides: Sequence[str] = ()) -> Written:
    """Read `path`, settings of a `kind`, and apply `overrides` (`key.sub=value`).

    The value of an override is YAML if it begins with a bracket, a brace or a quotation mark; otherwise null,
    true, false or a number if the key takes one; otherwise plain text. `\\t` is a tab.
    """
    tree = _read_yaml(Path(path))
    texts: dict[str, str] = {}
    for override in overrides:
        _apply_override(tree, texts, override, kind.purpose)
    return Written(tree, texts, str(path))


def parse_settings(kind: type[SettingsT], tree: dict[str, Any], source: str) -> SettingsT:
    """Validate a tree of plain values as `kind`; the `ConfigError` names `source`."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error, kind, tree, source)) from None


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
    except FileNotFoundError as error:
        from recsys_dist.storage.holdings import why_absent  # noqa: PLC0415 - takes as long as all other imports

        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}{why_absent(path)}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not valid YAML: {' '.join(str(error).split())}{no_configuration(path)}"
        ) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold `key: value` lines at its top level{no_configuration(path)}")
    return tree


def _apply_override(tree: dict[str, Any], texts: dict[str, str], override: str, purpose: Purpose | None) -> None:
    """Set one key of the tree. `texts` keeps the original text of a parsed value."""
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        # Without a sign of equality it may be a path, as other commands take one.
        hint = f"; for a path write {purpose.path_key}={override}" if purpose is not None and not equals else ""
        raise ConfigError(f"override {override!r} is not of the form key.sub=value{hint}")
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
            keys, _ = locate(kind, problem["loc"], tree)
            problems.setdefault(".".join(keys), set()).add(problem["type"])
    return {key for key, types in problems.items() if types <= NOT_A_TEXT}


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
