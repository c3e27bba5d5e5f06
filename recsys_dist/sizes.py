"""Sizes in settings: 4GiB, 500MB, 1.5 KiB, 4gb, or a plain number of bytes."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, ByteSize, TypeAdapter

# pydantic parses only the beginning of a text (4,5GiB as 4 bytes), and accepts fractions of a byte.
WHOLE = re.compile(r"\s*(\d+\s*[a-zA-Z]*|\d*\.\d+\s*[a-zA-Z]{2,})\s*", re.ASCII)


def parse_size(size: Any) -> Any:
    """Parse a size into bytes; whole numbers pass unchanged, for pydantic to validate.

    Raises `ValueError` for text that is not a size.
    """
    if not isinstance(size, str | float) or (isinstance(size, float) and size.is_integer()):
        return size
    try:
        is_size = WHOLE.fullmatch(str(size)) is not None
        num_bytes = int(TypeAdapter(ByteSize).validate_python(size)) if is_size else 0
    except (ValueError, OverflowError):
        num_bytes = 0
    if num_bytes < 1:
        raise ValueError(f"{size!r} is not a size such as 4GiB or 500MB")
    return num_bytes


Size = Annotated[int, BeforeValidator(parse_size)]
"""A setting in bytes."""
