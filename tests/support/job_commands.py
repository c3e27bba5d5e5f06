"""Checks a command line that stands in a job description: what it names exists and its settings are valid."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsys_dist.config import load_settings
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.training.config import TrainConfig

REPOSITORY = Path(__file__).resolve().parents[2]


def check_command(command: Sequence[str]) -> PrepareConfig | TrainConfig | None:
    """Validate the settings that `command` gives to `prepare` or `train`, and return them."""
    for word in command:
        if word.startswith("launch/"):
            assert (REPOSITORY / word).is_file(), f"{word} is not in the repository"
    options = [word for word in command if word.startswith("--config=")]
    if not options:
        return None
    config = REPOSITORY / options[0].removeprefix("--config=")
    overrides = [word for word in command if "=" in word and not word.startswith("-")]
    if list(command[:2]) == ["recsys-dist", "prepare"]:
        return load_settings(PrepareConfig, config, overrides)
    assert "launch/train.py" in command, f"nothing in {command} takes a configuration"
    return load_settings(TrainConfig, config, overrides)
