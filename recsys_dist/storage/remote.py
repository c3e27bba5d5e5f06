"""Remote storage: masked secrets and retries of transient failures.

Credentials come from where the libraries look for them: environment variables, their configuration files, the role
of the machine. In a URL they would be written into manifests, checkpoints, rejects and logs.
"""

from __future__ import annotations

import os
import re
from typing import Any

import fsspec

from recsys_dist.errors import ConfigError

ATTEMPTS = 5
"""How often a request is sent, or a file with wrong content read, before it is an error."""
RETRIES = {"mode": ("AWS_RETRY_MODE", "standard"), "total_max_attempts": ("AWS_MAX_ATTEMPTS", ATTEMPTS)}
"""Settings of botocore, and the environment variables that override them."""
MASK = "***"
_SECRET = "token|secret|passw|credential|signature|access_?-?key|api_?-?key"
# user:password@, where no port follows the colon
_USERINFO = re.compile(r"(?<=://)[^/@\s:]*:(?!\d+(?:[/?#]|$))[^@\s]*(?=@)")
_PARAMETER = re.compile(rf"([?&;](?:[^=&;\s]*(?:{_SECRET})[^=&;\s]*|sig|key|auth)=)[^&;#\s\"']+", re.IGNORECASE)


def masked(text: str) -> str:
    """The text without the secrets of the URLs in it."""
    return _PARAMETER.sub(rf"\g<1>{MASK}", _USERINFO.sub(MASK, text))


def refuse_credentials(url: str) -> None:
    """Raise `ConfigError` if a URL contains a secret: a password, a key, a token, a signature."""
    if "://" in url and masked(url) != url:
        raise ConfigError(
            f"{masked(url)}: a URL with credentials would be written into manifests and logs; put them into "
            "the environment or into the configuration files of the storage"
        )


def connection_options(url: str) -> dict[str, Any]:
    """Options of a filesystem for retries; none if the user's own fsspec settings have them."""
    protocol = url.partition("://")[0]
    if protocol not in {"s3", "s3a"} or "config_kwargs" in fsspec.config.conf.get(protocol, {}):
        return {}
    retries = {key: value for key, (variable, value) in RETRIES.items() if variable not in os.environ}
    return {"config_kwargs": {"retries": retries}}
