"""Appended rows must follow the rules that the dataset was prepared with."""

from __future__ import annotations

from recsys_dist.dataset.manifest import TICKS_RULE, Manifest
from recsys_dist.errors import ConfigError
from recsys_dist.preparation.publish import rules_of
from recsys_dist.preparation.settings.prepare import PrepareConfig


def require_same_rules(config: PrepareConfig, base: Manifest, url: str) -> None:
    """Raise `ConfigError` if the settings differ from the rules of the dataset `base` at `url`."""
    if base.rules is None:
        raise ConfigError(f"output: {url} does not record the rules it was prepared with; prepare all files again")
    _require_same_feedback(config, base, url)
    rules = rules_of(config)
    # The ticks of timestamps are not a setting: appended timestamps may need finer ones.
    for key in sorted(rules.keys() | base.rules.keys() - {TICKS_RULE}):
        if rules.get(key) != base.rules.get(key):
            raise ConfigError(
                f"{key}: {rules.get(key)!r} here, but {url} was prepared with {base.rules.get(key)!r}; "
                "appended ratings must follow the same rules"
            )


def _require_same_feedback(config: PrepareConfig, base: Manifest, url: str) -> None:
    if config.has_ratings == base.has_ratings:
        return
    column = config.input.columns.rating
    here, there = ("null", "ratings") if column is None else (repr(column), "interactions")
    raise ConfigError(
        f"input.columns.rating: {here} here, but {url} was prepared from {there}; "
        "appended rows must follow the same rules"
    )
