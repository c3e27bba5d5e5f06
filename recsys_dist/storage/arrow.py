"""Arrow readers that run in the calling thread, on memory and files that Arrow owns.

Arrow's default readers read ahead in a thread pool. One of its threads may drop the last reference to a Python
object while the interpreter shuts down, and the process then ends with SIGABRT after its work is done
(apache/arrow #34314, #33975). Without read-ahead no such thread is started; the CSV reader, which always starts
one, gets memory that is freed without Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def open_parquet(source: Path | pa.NativeFile | IO[bytes]) -> pq.ParquetFile:
    """Open a Parquet file. Read it with `use_threads=False`. Raises Arrow's errors, and OSError."""
    file = pa.OSFile(str(source)) if isinstance(source, Path) else source
    return pq.ParquetFile(file, pre_buffer=False)


def read_parquet(source: Path | bytes, columns: Sequence[str] | None = None) -> Any:
    """The whole table, or some of its columns.

    Raises Arrow's errors, and OSError; `pa.ArrowKeyError` if a column is missing.
    """
    with open_parquet(source if isinstance(source, Path) else pa.BufferReader(own_memory(source))) as file:
        missing = set(columns or ()) - set(file.schema_arrow.names)
        if missing:
            raise pa.ArrowKeyError(f"it has no column {min(missing)!r}")
        return file.read(columns=columns, use_threads=False)


def own_memory(data: bytes) -> pa.Buffer:
    """A copy of `data` in memory of Arrow, which any thread can free."""
    buffer = pa.allocate_buffer(len(data))
    np.frombuffer(buffer, np.uint8)[:] = np.frombuffer(data, np.uint8)
    return buffer
