"""The settings that a sweep searches: a YAML file with a range or a list of values for each key.

    model.factors: {int: [4, 64], log: true}
    model.regularization: {float: [0.1, 100], log: true}
    model.prior: [adaptive, fixed]

Keys may also be nested, as in a configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_dist.config import parse_settings, read_written
from recsys_dist.config_errors import known_keys
from recsys_dist.errors import ConfigError
from recsys_dist.training.config import TrainConfig

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FORMS = "give a list of values, or a range such as {int: [4, 64], log: true} or {float: [0, 0.9]}"
ALSO_SEARCHED = ("seed", "training.epochs", "training.patience")
"""Keys that may be searched, besides those below `model`."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; `is_log`: drawn evenly by their logarithm."""

    low: float
    high: float
    is_int: bool
    is_log: bool

    def distribution(self) -> BaseDistribution:
        """The same for Optuna."""
        from optuna.distributions import FloatDistribution, IntDistribution  # noqa: PLC0415 - an extra

        if self.is_int:
            return IntDistribution(int(self.low), int(self.high), log=self.is_log)
        return FloatDistribution(self.low, self.high, log=self.is_log)

    def value_of(self, parameter: Any) -> Any:
        """The value of a parameter of Optuna."""
        return parameter

    def parameter_of(self, value: Any) -> Any:
        """The parameter for a value. Raises `ValueError` if it lies outside."""
        is_number = isinstance(value, int if self.is_int else int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            raise ValueError
        return value

    def examples(self) -> tuple[Any, ...]:
        """Values that must be valid: its ends."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choice:
    """Some values. Optuna keeps a list or a mapping as JSON."""

    values: tuple[Any, ...]

    def distribution(self) -> BaseDistribution:
        """The same for Optuna."""
        from optuna.distributions import CategoricalDistribution  # noqa: PLC0415 - an extra

        return CategoricalDistribution([_told(value) for value in self.values])

    def value_of(self, parameter: Any) -> Any:
        """The value of a parameter of Optuna."""
        return next(value for value in self.values if _told(value) == parameter)

    def parameter_of(self, value: Any) -> Any:
        """The parameter for a value. Raises `ValueError` if it is not one of these."""
        return _told(self.values[self.values.index(value)])

    def examples(self) -> tuple[Any, ...]:
        """Values that must be valid: all."""
        return self.values


@dataclass(frozen=True)
class Space:
    """The keys of a sweep and their values."""

    dimensions: Mapping[str, Range | Choice]

    @classmethod
    def read(cls, path: Path, config: TrainConfig) -> Space:
        """Read a file. Raises `ConfigError` for what cannot be searched in trainings by `config`."""
        return cls.of(read_written(TrainConfig, path).tree, config, str(path))

    @classmethod
    def of(cls, tree: Mapping[str, Any], config: TrainConfig, source: str) -> Space:
        """The same from the content of a file; errors name `source`."""
        found = dict(_dimensions(tree, source))
        if not found:
            raise ConfigError(f"{source} names no key to search; {FORMS}, such as model.factors: [8, 16, 32]")
        known = set(known_keys(TrainConfig, config.model_dump(mode="json")))
        for key, dimension in found.items():
            if key in known and not _is_searched(key):
                searched = ", ".join(("a key below model", *ALSO_SEARCHED))
                raise ConfigError(f"{source}: {key} cannot be searched; take {searched}")
            for value in dimension.examples():
                with_settings(config, {key: value}, source)
        return cls(found)

    def distributions(self) -> dict[str, BaseDistribution]:
        """The space for Optuna."""
        return {key: dimension.distribution() for key, dimension in self.dimensions.items()}

    def settings(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Values by key, from parameters of Optuna."""
        return {key: self.dimensions[key].value_of(parameter) for key, parameter in parameters.items()}

    def parameters_of(self, config: TrainConfig) -> dict[str, Any] | None:
        """The parameters with which a trial has the settings of `config`; None if these are not in the space."""
        tree = config.model_dump(mode="json")
        try:
            return {key: one.parameter_of(_at(tree, key)) for key, one in self.dimensions.items()}
        except (ValueError, KeyError, TypeError):  # the settings lack a part that the space has
            return None

    def to_tree(self) -> dict[str, Any]:
        """What is the same for the same space, also after it was written as JSON and read."""
        return {key: [type(one).__name__, vars(one)] for key, one in self.dimensions.items()}


def with_settings(config: TrainConfig, settings: Mapping[str, Any], source: str) -> TrainConfig:
    """The configuration with other values of some dotted keys. Raises `ConfigError` that names `source`."""
    tree = config.model_dump(mode="json")
    for key, value in settings.items():
        *above, last = key.split(".")
        node = tree
        for place, part in enumerate(above):
            if node.get(part) is None:
                node[part] = {}
            node = node[part]
            if not isinstance(node, dict):
                raise ConfigError(f"{source}: {key}: {'.'.join(above[: place + 1])} has no keys below it")
        node[last] = value
    return parse_settings(TrainConfig, tree, source)


def _is_searched(key: str) -> bool:
    return key in ALSO_SEARCHED or (key.startswith("model.") and key != "model.kind")


def _at(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


def _dimensions(tree: Mapping[str, Any], source: str, above: str = "") -> Iterator[tuple[str, Range | Choice]]:
    for name, node in tree.items():
        key = f"{above}{name}"
        if isinstance(node, Mapping) and node and not {"int", "float", "log"} & node.keys():
            yield from _dimensions(node, source, f"{key}.")
        elif isinstance(node, list | tuple) and node:
            yield key, Choice(tuple(node))
        elif isinstance(node, Mapping) and len({"int", "float"} & node.keys()) == 1:
            yield key, _range(node, f"{source}: {key}")
        else:
            raise ConfigError(f"{source}: {key}: {FORMS}, not {node!r}")


def _range(node: Mapping[str, Any], where: str) -> Range:
    kind = "int" if "int" in node else "float"
    is_log = node.get("log", False)
    if not isinstance(is_log, bool) or node.keys() - {kind, "log"}:
        raise ConfigError(f"{where}: {FORMS}, not {dict(node)!r}")
    try:
        ends = node[kind]
        low, high = (_number(end, kind) for end in (ends if isinstance(ends, list | tuple) else ()))
    except (TypeError, ValueError):
        raise ConfigError(
            f"{where}: {node[kind]!r} is not a range of two numbers, such as {kind}: [1, 64]"
        ) from None
    if not low < high:
        raise ConfigError(f"{where}: {node[kind]!r} is not a range from a smaller to a larger number")
    if is_log and low <= 0:
        raise ConfigError(f"{where}: with log: true the range must lie above 0, and begins at {low:g}")
    return Range(low, high, kind == "int", is_log)


def _number(end: Any, kind: str) -> float:
    # YAML reads 1e-3, without a point, as text.
    if isinstance(end, bool) or (kind == "int" and not isinstance(end, int)):
        raise TypeError
    return int(end) if kind == "int" else float(end)


def _told(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
