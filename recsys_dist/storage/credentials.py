"""Where credentials for S3 come from; they themselves are never returned."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import fsspec

KEY = "AWS_ACCESS_KEY_ID"
FILE = "AWS_SHARED_CREDENTIALS_FILE"


def source_of_s3_credentials() -> str | None:
    """The place that has credentials for S3; None if there is none.

    With the extra `s3`, botocore looks wherever it would for a request, also for the role of the machine.
    """
    configured = fsspec.config.conf.get("s3", {})
    if configured.keys() & {"key", "secret", "profile"}:
        return "the settings of fsspec"
    if configured.get("anon"):
        return "none needed: the settings of fsspec say anon"
    try:
        from botocore.session import Session  # noqa: PLC0415 - an extra
    except ImportError:
        return _without_botocore()
    return _by_botocore(Session())


def _by_botocore(session: Any) -> str | None:
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - an extra

    try:
        found = session.get_credentials()
    except BotoCoreError as error:
        return f"a configuration that cannot be used: {type(error).__name__}"
    return None if found is None else str(found.method)


def _without_botocore() -> str | None:
    if KEY in os.environ:
        return "the environment"
    file = Path(os.environ.get(FILE) or "~/.aws/credentials").expanduser()
    return str(file) if file.is_file() else None
