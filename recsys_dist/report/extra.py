"""What a page is drawn with is installed by the extra `report`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_dist.errors import ConfigError


@contextmanager
def drawing_tools() -> Iterator[None]:
    """Imports in the block need matplotlib or Jinja. Raises `ConfigError` saying what to install without them."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"the page cannot be drawn: {error}; pip install recsys-dist[report]") from error
