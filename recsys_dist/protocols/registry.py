"""Model families by name.

A name comes from this package, from an entry point `recsys_dist.families` of an installed package, or from a class
that the user named: as MODULE:CLASS in a configuration or by `--family`, or directly in Python. Checkpoints and
model folders contain only a name. A name never imports code that was neither installed nor named by the user.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from recsys_dist.errors import ConfigError
from recsys_dist.protocols.family import ModelFamily, ModelSettings
from recsys_dist.suggestions import did_you_mean

GROUP = "recsys_dist.families"
OWN = {
    "mf": "recsys_dist.families.mf.family:MatrixFactorization",
    "autorec": "recsys_dist.families.autorec.family:AutoRec",
    "blend": "recsys_dist.families.blend.family:Blend",
    "ials": "recsys_dist.families.ials.family:Ials",
    "ease": "recsys_dist.families.ease.family:Ease",
}
HOW_TO_NAME = "give --family MODULE:CLASS, or install the package that provides it"
_added: dict[str, ModelFamily[Any]] = {}


def names() -> list[str]:
    """All known names, sorted."""
    return sorted({*OWN, *_installed(), *_added})


def family_named(name: str) -> ModelFamily[Any]:
    """The family of that name. Raises `ConfigError` if the name is unknown."""
    if name in _added:
        return _added[name]
    spec = OWN.get(name) or _installed().get(name)
    if spec is None:
        hint = did_you_mean(name, names()) or f"; {HOW_TO_NAME}"
        raise ConfigError(f"model.kind: {name!r} is not one of {', '.join(names())}{hint}")
    return _load(spec)


def known_family(name: str, of: str) -> ModelFamily[Any]:
    """The family of the run or model at `of`. Raises `ConfigError` that says how to name a custom family."""
    if name not in names():
        raise ConfigError(f"{of} is of the family {name!r}, which is not installed; {HOW_TO_NAME}")
    return family_named(name)


def family_of(settings: ModelSettings) -> ModelFamily[Any]:
    """The family of these settings. Raises `ConfigError` if no family has their kind."""
    if not isinstance(settings, ModelSettings):
        raise ConfigError(f"model: {settings!r} is not a settings object such as recsys_dist.MF(factors=32)")
    family = family_named(settings.kind) if settings.kind in names() else None
    if family is None or not isinstance(settings, family.settings):
        raise ConfigError(f"model: no family of kind {settings.kind!r} is known; give it as family=...")
    return family


def add_family(spec: str) -> ModelFamily[Any]:
    """Register the family MODULE:CLASS by its name. Raises `ConfigError` if it cannot be used."""
    family = _load(spec)
    return add(family)


def add(family: ModelFamily[Any]) -> ModelFamily[Any]:
    """Register a family by its name. Raises `ConfigError` if another family has the name."""
    spec = _spec(family)
    taken_by = OWN.get(family.name) or _installed().get(family.name)
    known = _added.get(family.name)
    if taken_by is None and known is not None and type(known) is not type(family):
        taken_by = _spec(known)
    if taken_by is not None and taken_by != spec:
        raise ConfigError(
            f"{spec}: the name {family.name!r} is taken by {taken_by}; give the class another `name`"
        )
    _added[family.name] = family
    return family


def name_for_configuration(family: ModelFamily[Any]) -> str:
    """What to write as `model.kind` of a file: the name of a known family, MODULE:CLASS of a user's own."""
    return family.name if family.name in {*OWN, *_installed()} else _spec(family)


def _spec(family: ModelFamily[Any]) -> str:
    return f"{type(family).__module__}:{type(family).__qualname__}"


@cache
def _installed() -> dict[str, str]:
    return {point.name: point.value for point in entry_points(group=GROUP) if point.name not in OWN}


@cache
def _load(spec: str) -> ModelFamily[Any]:
    module_name, colon, class_name = spec.partition(":")
    if not colon or not module_name or not class_name.isidentifier():
        raise ConfigError(f"{spec!r} is not of the form MODULE:CLASS, such as neumf:NeuMF")
    found = getattr(load_module(module_name, spec), class_name, None)
    if found is None:
        raise ConfigError(f"{spec}: the module {module_name} has no class {class_name}")
    if not isinstance(found, type) or not issubclass(found, ModelFamily):
        raise ConfigError(f"{spec}: {class_name} is not a subclass of recsys_dist.ModelFamily or PairFamily")
    _check_declared(found, spec)
    try:
        return found()
    except Exception as error:
        raise ConfigError(f"{spec}: cannot be constructed without arguments: {_told(error)}") from error


def load_module(name: str, spec: str) -> Any:
    """A module that the user named in `spec`, also from the current folder. Raises `ConfigError`."""
    # As with `python -m`: a custom family is usually in the current folder.
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return import_module(name)
    except Exception as error:
        raise ConfigError(f"{spec}: the module {name} cannot be imported: {_told(error)}") from error


def _check_declared(kind: type[ModelFamily[Any]], spec: str) -> None:
    missing = sorted(kind.__abstractmethods__)
    if missing:
        raise ConfigError(f"{spec}: does not implement {', '.join(missing)}")
    name, settings = getattr(kind, "name", None), getattr(kind, "settings", None)
    if not isinstance(name, str) or not name.isidentifier():
        raise ConfigError(f"{spec}: has no class attribute `name` of letters, digits and underscores")
    if not isinstance(settings, type) or not issubclass(settings, ModelSettings):
        raise ConfigError(f"{spec}: `settings` is not a subclass of recsys_dist.ModelSettings")
    default = settings.model_fields["kind"].default
    if default != name:
        raise ConfigError(f"{spec}: its settings have the default `kind` {default!r}, but its name is {name!r}")


def _told(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
