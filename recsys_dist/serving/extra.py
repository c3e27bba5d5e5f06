"""Imports of FastAPI and uvicorn, which the extra `serve` installs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_dist.errors import ConfigError
from recsys_dist.extras import how_to_install


@contextmanager
def serving_tools() -> Iterator[None]:
    """Import FastAPI or uvicorn in the block. Without them raises a `ConfigError` that says what to install."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"serve needs FastAPI and uvicorn: {error}; {how_to_install('serve')}") from error
