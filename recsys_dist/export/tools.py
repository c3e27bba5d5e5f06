"""Imports of libraries that extras install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from recsys_dist.errors import ConfigError
from recsys_dist.extras import how_to_install


@contextmanager
def tools_of(extra: str) -> Iterator[None]:
    """Import what an extra installs in the block. Without it raises a `ConfigError` that says what to install."""
    try:
        yield
    except ImportError as error:
        raise ConfigError(f"export --to {extra} lacks a package: {error}; {how_to_install(extra)}") from error
