"""Raw ids to dense indices and back, by the array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from recsys_dist.errors import DataError


class IdIndex:
    """The ids of one side; position = dense index."""

    def __init__(self, ids: pa.StringArray) -> None:
        self._ids = ids

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, ids: ArrayLike | pa.Array) -> NDArray[np.int64]:
        """Dense index of each raw id, `len(self)` where it is unknown: [n].

        Ids are text exactly as in the data; whole numbers stand for their digits.
        """
        asked = _as_array(ids).dictionary_encode()
        # The few ids asked for are hashed and all ids looked up among them: the other way round takes 70 times as
        # long for one id among millions, and an index kept for it would take seconds to make.
        place_U = pc.index_in(self._ids, value_set=asked.dictionary)
        known = np.flatnonzero(place_U.is_valid())
        index_D = np.full(len(asked.dictionary) + 1, len(self), np.int64)
        index_D[place_U.drop_null().to_numpy()] = known
        # A null is the last entry, which stays unknown.
        index: NDArray[np.int64] = index_D[asked.indices.fill_null(len(asked.dictionary)).to_numpy()]
        return index

    @property
    def array(self) -> pa.StringArray:
        """All of them; position = dense index."""
        return self._ids

    def take(self, indices: NDArray[np.int64]) -> list[str]:
        """The raw ids of known indices."""
        texts: list[str] = self._ids.take(pa.array(indices)).to_pylist()
        return texts


def _as_array(ids: ArrayLike | pa.Array) -> pa.StringArray:
    """Raw ids as an array of text. Raises `DataError` for fractions, dates and the like: nothing is guessed."""
    if isinstance(ids, pa.Array | pa.ChunkedArray):
        array: Any = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    else:
        array = _from_numpy(_one_kind(ids))
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    is_text = pa.types.is_string(array.type) or pa.types.is_large_string(array.type)
    if not (is_text or pa.types.is_integer(array.type) or len(array) == array.null_count):
        raise DataError(f"ids must be text or whole numbers, not {array.type}")
    return array.cast(pa.string())


def _one_kind(ids: ArrayLike) -> NDArray[Any]:
    """As an array; of several kinds as objects, where NumPy would make text or numbers of all."""
    is_mixed = isinstance(ids, list | tuple) and len(set(map(type, ids))) > 1
    try:
        return np.atleast_1d(np.asarray(ids, object if is_mixed else None))
    except ValueError:
        raise DataError("ids must be one-dimensional, not lists of several lengths") from None


def _from_numpy(ids: NDArray[Any]) -> pa.Array:
    if ids.ndim != 1:
        raise DataError(f"ids must be one-dimensional, not of shape {ids.shape}")
    if ids.dtype == object:
        return pa.array([None if one is None else _text(one) for one in ids], pa.string())
    if ids.dtype.kind == "c":
        raise DataError("ids must be text or whole numbers, not complex numbers")
    return pa.array(ids)


def _text(one: object) -> str:
    if not isinstance(one, str | int | np.integer) or isinstance(one, bool):
        raise DataError(f"ids must be text or whole numbers, not {one!r}")
    return str(one)


def require_same_length(**arrays: NDArray[Any]) -> None:
    """Raise `DataError` where arrays that go together differ in length."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise DataError(f"arrays that go together differ in length: {told}")


def texts(ids: ArrayLike | pa.Array) -> list[str]:
    """Raw ids as Python strings; a single id becomes a list of one."""
    strings: list[str] = _as_array(ids).to_pylist()
    return strings


def pair_up(user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and items as pairs; a single one goes with every one of the other side."""
    if len(user_N) != 1 and len(item_N) != 1:
        require_same_length(user_ids=user_N, item_ids=item_N)
    users, items = np.broadcast_arrays(user_N, item_N)
    return users.copy(), items.copy()
