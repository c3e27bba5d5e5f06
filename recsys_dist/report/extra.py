"""Imports of the drawing libraries, which the extra `report` installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_dist.errors import ConfigError
from recsys_dist.extras import how_to_install


@contextmanager
def drawing_tools() -> Iterator[None]:
    """Import matplotlib or Jinja in the block. Without them raises a `ConfigError` that says what to install."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"the page cannot be drawn: {error}; {how_to_install('report')}") from error
