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
    if isinstance(value, dict) and not text.lstrip().startswith("{"):
        value = text  # separator=:: means those two signs; a mapping is written {key: value}
    node = tree
    for key in keys[:-1]:
        child = {} if node.get(key) is None else node[key]
        node[key] = child
        if not isinstance(child, dict):
            raise ConfigError(f"override {override!r}: {key!r} is a value and has no keys below it")
        node = child
    node[keys[-1]] = value


def _explain(error: ValidationError, kind: type[BaseModel]) -> Iterable[str]:
    for problem in error.errors(include_url=False):
        keys, beside = _locate(kind, problem["loc"])
        key = ".".join(keys) or "configuration"
        match problem["type"]:
            case "extra_forbidden":
                yield f"unknown key {key!r}" + (f"; allowed here: {', '.join(beside)}" if beside else "")
            case "missing":
                yield f"key {key!r} is required; give it in the file or as {key}=VALUE"
            case "union_tag_not_found":
                yield f"key '{key}.kind' is required; give it in the file or as {key}.kind=VALUE"
            case "union_tag_invalid":
                yield f"{key}.kind: {problem['ctx']['tag']!r} is not one of {problem['ctx']['expected_tags']}"
            case _:
                yield f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def _locate(kind: type[BaseModel], location: tuple[int | str, ...]) -> tuple[list[str], list[str]]:
    """The dotted key that a person wrote at `location`, and the keys that are declared beside it.

    pydantic puts the chosen member of a union into the location, which is no key of the file.
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
        elif (member := _union_member(node, part)) is not None:
            node = member
        else:
            keys, beside, node = [*keys, str(part)] if isinstance(part, int) else keys, [], None
    return keys, beside


def _as_model(node: Any) -> type[BaseModel] | None:
    """The settings class that `node` is, or is beside None."""
    members = [member for member in getattr(node, "__args__", (node,)) if member is not type(None)]
    only = members[0] if len(members) == 1 else None
    return only if isinstance(only, type) and issubclass(only, BaseModel) else None


def _union_member(node: Any, tag: int | str) -> type[BaseModel] | None:
    """The member of a discriminated union that `tag` selects: the one whose `kind` may be it."""
    for member in getattr(node, "__args__", ()):
        model = _as_model(member)
        field = model.model_fields.get("kind") if model is not None else None
        if field is not None and tag in getattr(field.annotation, "__args__", ()):
            return model
    return None
