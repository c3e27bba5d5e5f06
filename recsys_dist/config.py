"""One YAML file and `key.sub=value` overrides in, a validated settings object out.

Each part of the program owns the model of its own settings; this file only reads, overrides and explains.
An unknown key, a wrong type or an impossible combination becomes one `ConfigError` line that names the key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from recsys_dist.errors import ConfigError


class Settings(BaseModel):
    """Base of all settings: immutable, and a key that is not declared is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)


SettingsT = TypeVar("SettingsT", bound=Settings)


def load_settings(kind: type[SettingsT], path: str | Path, overrides: Sequence[str] = ()) -> SettingsT:
    """Read `path`, apply `overrides` (`key.sub=value`, values in YAML) and validate as `kind`."""
    tree = _read_yaml(Path(path))
    for override in overrides:
        _apply_override(tree, override)
    return parse_settings(kind, tree, source=str(path))


def parse_settings(kind: type[SettingsT], tree: dict[str, Any], source: str) -> SettingsT:
    """Validate a tree of plain values as `kind`; `source` is named in the error."""
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_explain(error, kind))) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path} must hold `key: value` lines at its top level")
    return tree


def _apply_override(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise ConfigError(f"override {override!r} is not of the form key.sub=value")
    try:
        value = yaml.safe_load(text) if text else ""
    except yaml.YAMLError:
        value = text
    node = tree
    for key in keys[:-1]:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {key!r} is a value and has no keys below it")
        node = child
    node[keys[-1]] = value


def _explain(error: ValidationError, kind: type[BaseModel]) -> Iterable[str]:
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in problem["loc"]) or "configuration"
        if problem["type"] == "extra_forbidden":
            allowed = ", ".join(_keys_beside(kind, problem["loc"]))
            yield f"unknown key {key!r}" + (f"; allowed here: {allowed}" if allowed else "")
        elif problem["type"] == "missing":
            yield f"key {key!r} is required; give it in the file or as {key}=VALUE"
        else:
            yield f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def _keys_beside(kind: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The keys that the settings class holding `location` declares; empty where a union hides it."""
    node: Any = kind
    for part in location[:-1]:
        field = (
            node.model_fields.get(str(part)) if isinstance(node, type) and issubclass(node, BaseModel) else None
        )
        node = field.annotation if field is not None else _union_member(node, part)
        if node is None:
            return []
    return list(node.model_fields) if isinstance(node, type) and issubclass(node, BaseModel) else []


def _union_member(node: Any, tag: int | str) -> Any:
    """The member of a discriminated union that `tag` selects: the one whose `kind` defaults to it."""
    for member in getattr(node, "__args__", ()):
        field = getattr(member, "model_fields", {}).get("kind")
        if field is not None and tag in getattr(field.annotation, "__args__", ()):
            return member
    return None
