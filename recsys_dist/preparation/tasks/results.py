"""Task results as JSON, recorded so that a resumed preparation does not run the tasks again.

Only the types below can be decoded, a guarantee that pickle does not give.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from recsys_dist.preparation.parsing.item_lines import LastItem
from recsys_dist.preparation.shards.gathered import ShardInfo
from recsys_dist.preparation.shards.growth import GrownInfo, KnownInfo
from recsys_dist.preparation.shards.merging import DeduplicatedInfo
from recsys_dist.preparation.shards.runs import RunInfo
from recsys_dist.preparation.shards.time_cutoffs import TimeSpan
from recsys_dist.preparation.shards.user_rows import Buckets
from recsys_dist.storage.folder import FileRecord

PLAIN = (type(None), bool, int, float, str)


@dataclass(frozen=True)
class _Form:
    """Encoder and decoder of one type."""

    write: Callable[[Any], JsonValue]
    read: Callable[[Any], Any]


def to_json(result: Any) -> JsonValue:
    """Encode a result losslessly."""
    if isinstance(result, list):
        return [to_json(part) for part in result]
    if type(result) in PLAIN:
        return result  # type: ignore[no-any-return]
    return {"kind": type(result).__name__, "value": FORMS[type(result).__name__].write(result)}


def from_json(tree: Any) -> Any:
    """Decode a result of `to_json`."""
    if isinstance(tree, list):
        return [from_json(part) for part in tree]
    return FORMS[tree["kind"]].read(tree["value"]) if isinstance(tree, dict) else tree


def _write_fields(result: Any) -> JsonValue:
    return {name: to_json(value) for name, value in vars(result).items()}


def _read_fields(kind: type[Any], fields: dict[str, Any]) -> Any:
    return kind(**{name: from_json(value) for name, value in fields.items()})


def _write_array(array: NDArray[Any]) -> JsonValue:
    data = b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": data}


def _read_array(tree: dict[str, Any]) -> NDArray[Any]:
    return np.frombuffer(b64decode(tree["data"]), np.dtype(tree["dtype"])).reshape(tree["shape"])


FORMS = {
    "tuple": _Form(lambda parts: [to_json(part) for part in parts], lambda parts: tuple(map(from_json, parts))),
    "dict": _Form(dict, dict),
    "Counter": _Form(dict, Counter),
    "ndarray": _Form(_write_array, _read_array),
    "FileRecord": _Form(lambda record: record.model_dump(mode="json"), FileRecord.model_validate),
    **{
        kind.__name__: _Form(_write_fields, partial(_read_fields, kind))
        for kind in (Buckets, GrownInfo, KnownInfo, LastItem, RunInfo, DeduplicatedInfo, ShardInfo, TimeSpan)
    },
}
