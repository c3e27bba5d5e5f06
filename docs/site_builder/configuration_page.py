"""The page of the configuration, from the settings classes and the shipped files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from docs.site_builder.markdown import table, text_of
from docs.site_builder.settings_keys import (
    Key,
    Section,
    model_sections,
    preparation_sections,
    training_sections,
)
from recsys_dist.shipped_configs import config_folder, config_names

HEAD = """# Configuration

This page is generated from the classes that read the configuration, and from the shipped files.

A configuration is a YAML file: `--config` takes the name of a shipped one, or the path of your own.
`key.sub=value` on the command line overrides any key. A default is the value of a key that a file leaves out.
Where a shipped file has another value, this is noted.

"""


def configuration_page() -> str:
    """The page as markdown."""
    parts = [HEAD, "## Preparation {#prepare}\n\n"]
    parts += [_section(section, "prepare") for section in preparation_sections()]
    parts.append("## Training {#train}\n\n")
    parts += [_section(section, "train") for section in training_sections()]
    parts += [_section(section, "train") for section in model_sections()]
    parts.append("## Shipped files {#shipped}\n\n")
    parts += [_file(config_folder() / f"{name}.yaml") for name in config_names()]
    return "".join(parts)


def _section(section: Section, command: str) -> str:
    if not section.keys:
        return ""
    place, _, kind = section.name.partition(", ")
    shown = f"`{place}`" if place else "Keys at the top"
    title = f"{shown}{f' with `{kind}`' if kind else ''}"
    mark = "-".join([command, *(section.name.replace(", kind: ", "-").replace(".", "-").split() or ["top"])])
    rows = [
        (f"`{key.name}`", key.values, _default(key, place, kind), text_of(key.meaning)) for key in section.keys
    ]
    body = table(("key", "values", "default", "meaning"), rows)
    return f"### {title} {{#{mark}}}\n\n{text_of(section.about)}\n\n{body}\n"


def _default(key: Key, place: str, kind: str) -> str:
    if key.is_required:
        return "required"
    default = _plain(key.default)
    if place not in {"model", "training", "checkpoint"}:
        return _code(default)
    others: dict[str, list[str]] = {}
    for name, tree in _training_files().items():
        shipped = tree.get(place, {})
        fits = not kind or shipped.get("kind") == kind.removeprefix("kind: ")
        if fits and key.name in shipped and _plain(shipped[key.name]) != default:
            others.setdefault(_code(_plain(shipped[key.name])), []).append(name)
    noted = "; ".join(f"{value} in {', '.join(names)}" for value, names in others.items())
    return _code(default) + (f" ({noted})" if noted else "")


def _training_files() -> dict[str, dict[str, Any]]:
    names = [name for name in config_names() if not name.startswith("prepare")]
    return {name: yaml.safe_load((config_folder() / f"{name}.yaml").read_text()) for name in names}


def _plain(value: Any) -> Any:
    """A default as YAML has it: a list of one number is that number, an empty list is nothing."""
    if isinstance(value, tuple | list):
        return list(value) if len(value) > 1 else next(iter(value), None)
    return value


def _code(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    told = words[value] if value is None or isinstance(value, bool) else f"{value}"
    return f"`{told}`"


def _file(path: Path) -> str:
    return f"### {path.stem} {{#{path.stem}}}\n\n```yaml\n{path.read_text(encoding='utf-8')}```\n\n"
