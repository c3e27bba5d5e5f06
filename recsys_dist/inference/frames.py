"""Arrow tables as pandas DataFrames, if pandas is installed."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from recsys_dist.errors import ConfigError


def as_pandas(table: pa.Table) -> Any:
    """The table as a DataFrame. Raises `ConfigError` if pandas is not installed."""
    try:
        return table.to_pandas()
    except ImportError:
        raise ConfigError("to_pandas needs pandas: pip install pandas, or use to_arrow") from None
