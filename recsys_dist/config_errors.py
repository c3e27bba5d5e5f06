"""What is wrong with settings, each problem in one line: the key as a user writes it, what is allowed there, and
what was probably meant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from recsys_dist.settings import Settings
from recsys_dist.shipped_configs import SUFFIXES, how_to_configure
from recsys_dist.suggestions import closest, did_you_mean

LONGEST_SHOWN = 60
"""Characters of a wrong value in an error."""
MOST_PLACES = 3
"""Places of one key that an error names."""
NO_MAPPING = {"model_type", "model_attributes_type", "dict_type"}
"""pydantic's error types for a plain value in place of keys."""


def explain(error: ValidationError, kind: type[Settings], tree: Any, source: str) -> str:
    """The problems of `tree`, which should be the settings of a `kind` from `source`, in one line."""
    elsewhere = _of_another_command(kind, tree, source) if isinstance(tree, Mapping) else None
    return elsewhere or f"{source}: " + "; ".join(_problems(error, kind, tree)).replace("?; ", "? ")


def _of_another_command(kind: type[Settings], tree: Mapping[str, Any], source: str) -> str | None:
    """The error if the settings were written for another command; else None."""
    purpose = kind.purpose
    strange = [key for key in tree if purpose is not None and key in purpose.others]
    if purpose is None or not strange or purpose.section in tree:
        return None
    other = purpose.others[strange[0]]
    return (
        f"{source} is a configuration for `recsys-dist {other}` (it has the key {strange[0]}, and no "
        f"{purpose.section}), not for `recsys-dist {purpose.command}`, which takes one such as --config "
        f"{purpose.example}"
    )


def no_configuration(path: Path) -> str:
    """The end of the error for a file that is probably not meant as a configuration; else empty."""
    return "" if path.suffix.lower() in SUFFIXES else f"; if it holds ratings, {how_to_configure(path)}"


def _problems(error: ValidationError, kind: type[Settings], tree: Any) -> Iterable[str]:
    unknown: dict[tuple[str, ...], list[str]] = {}
    for problem in error.errors(include_url=False):
        keys, beside = locate(kind, problem["loc"], tree)
        key = ".".join(keys) or "configuration"
        if problem["type"] == "extra_forbidden":
            unknown.setdefault(tuple(beside), []).append(key)
        else:
            yield _problem(problem, key, kind, tree)
    for allowed, found in unknown.items():
        message = f"unknown key{'s' * (len(found) > 1)} {', '.join(map(repr, found))}"
        message += f"; allowed here: {', '.join(allowed)}" if allowed else ""
        yield message + _meant_keys(kind, tree, found, allowed)


def _problem(problem: Any, key: str, kind: type[Settings], tree: Any) -> str:
    """One problem that is not an unknown key."""
    given, context = problem["input"], problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            told = f"key {key!r} is required; give it in the file or as {key}=VALUE"
        case "union_tag_not_found":
            told = f"key '{key}.kind' is required; give it in the file or as {key}.kind=VALUE"
        case "union_tag_invalid":
            kinds = context["expected_tags"]
            told = f"{key}.kind: {context['tag']!r} is not one of {kinds}{_meant_value(context['tag'], kinds)}"
        case "literal_error":
            shown = "null" if given is None else repr(given)[:LONGEST_SHOWN]
            told = f"{key}: {problem['msg']}, not {shown}{_meant_value(given, context['expected'])}"
        case "string_unicode":
            told = f"{key}: contains bytes that are not UTF-8; rename the file or folder"
        case problem_type if problem_type in NO_MAPPING and (below := _keys_below(key, kind, tree)):
            told = f"{key}: has keys of its own and takes no value; give them as {below}=VALUE"
        case _:
            message = problem["msg"].removeprefix("Value error, ")
            told = message if message.startswith(f"{key}.") else f"{key}: {message}"
    return told


def _keys_below(key: str, kind: type[Settings], tree: Any) -> str | None:
    """One of the keys below a key, if there are any."""
    below = [known for known in known_keys(kind, tree) if known.startswith(f"{key}.")]
    return next((known for known in below if not known.endswith(".kind")), below[0] if below else None)


def _meant_value(given: Any, expected: str) -> str:
    """The hint for a value; `expected` is pydantic's list of the allowed ones, each in quotes."""
    return did_you_mean(given, expected.split("'")[1::2]) if isinstance(given, str) else ""


def _meant_keys(kind: type[Settings], tree: Any, found: list[str], allowed: tuple[str, ...]) -> str:
    """The hints for unknown keys among the `allowed` ones; empty if none resembles another key."""
    known, of_others = list(dict.fromkeys(known_keys(kind, tree))), kind.purpose.others if kind.purpose else {}
    of_kinds = set(known_keys(kind, None))
    for_command = sorted({of_others[key] for key in found if key in of_others})
    for_kind = [key for key in found if key in of_kinds]
    meant = {key: _meant_key(key, known, allowed) for key in found if key not in {*of_others, *of_kinds}}
    told = [hint + (f" for {key!r}" if len(found) > 1 else "") for key, hint in meant.items() if hint]
    hints = [f"it is a key of `recsys-dist {command}`" for command in for_command]
    hints += [f"{key} is a key of another {key.rpartition('.')[0]}.kind" for key in for_kind]
    hints += [f"did you mean {', '.join(told)}?"] if told else []
    return "".join(f"; {hint}" for hint in hints)


def _meant_key(key: str, known: list[str], allowed: tuple[str, ...]) -> str:
    """The keys that were probably meant by one unknown key: of its name elsewhere, or of a similar name."""
    above, _, name = key.rpartition(".")
    places = [path for path in known if path.rpartition(".")[2] == name]
    if not places and (sibling := closest(name, allowed)) is not None:
        places = [f"{above}.{sibling}".lstrip(".")]
    if not places and (similar := closest(name, {path.rpartition(".")[2] for path in known})) is not None:
        places = [path for path in known if path.rpartition(".")[2] == similar]
    return " or ".join(places[:MOST_PLACES])


def known_keys(kind: type[BaseModel], tree: Any, above: str = "") -> Iterator[str]:
    """All keys of the settings, with dots. Where `tree` has no `kind` that decides, those of every kind."""
    for name, field in kind.model_fields.items():
        yield f"{above}{name}"
        below = tree.get(name) if isinstance(tree, Mapping) else None
        for member in _members(kind, name, field.annotation, tree):
            yield from known_keys(member, below, f"{above}{name}.")


def _members(kind: type[BaseModel], name: str, annotation: Any, tree: Any) -> list[type[BaseModel]]:
    """The settings classes of one field: none, one, or all that the `kind` in the tree does not exclude."""
    has_tree = isinstance(tree, Mapping)
    decided = kind.settings_below(name, tree) if has_tree and issubclass(kind, Settings) else None
    if decided is None and has_tree and isinstance(tree.get(name), Mapping):
        decided = _union_member(annotation, tree[name].get("kind"))
    if (only := decided or _as_model(annotation)) is not None:
        return [only]
    return [model for member in getattr(annotation, "__args__", ()) if (model := _as_model(member)) is not None]


def locate(kind: type[BaseModel], location: tuple[int | str, ...], tree: Any) -> tuple[list[str], list[str]]:
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


def _union_member(node: Any, tag: Any) -> type[BaseModel] | None:
    """The member of a discriminated union whose `kind` can be `tag`."""
    for member in getattr(node, "__args__", ()):
        model = _as_model(member)
        field = model.model_fields.get("kind") if model is not None else None
        if field is not None and tag in getattr(field.annotation, "__args__", ()):
            return model
    return None
