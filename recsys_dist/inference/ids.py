"""Raw ids to dense indices and back, for whole arrays.

An id is text exactly as in the data; a whole number stands for its digits. Nothing else is an id, and nothing is
guessed: a fraction, a boolean, bytes or a missing value is refused with its position.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from numbers import Integral
from typing import Any, SupportsIndex, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.errors import DataError
from recsys_dist.inference.columns import Values, Wanted, as_column, is_bytes, unwrapped
from recsys_dist.plain_text import is_utf8

OF_FRACTIONS = "if they are whole, convert them: a number with int, a column to int64"
OF_BYTES = "decode them, as in .decode()"
IDS_AT_ONCE = 1 << 14
SHOWN_IDS = 5


class IdIndex:
    """The ids of one side; position = dense index. Errors about requested ids call them `name`."""

    def __init__(self, ids: pa.StringArray, name: str = "ids") -> None:
        self._ids = ids
        self._name = name

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), IDS_AT_ONCE):
            yield from self._ids[start : start + IDS_AT_ONCE].to_pylist()

    def __contains__(self, one: object) -> bool:
        """Whether `one` is among the ids; an invalid id is not."""
        try:
            return bool(self.find([one])[0] < len(self))
        except DataError:
            return False

    @overload
    def __getitem__(self, index: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> str | list[str]:
        """The raw id at a dense index, or the raw ids of a slice."""
        if isinstance(index, slice):
            texts: list[str] = self._ids[index].to_pylist()
            return texts
        return str(self._ids[operator.index(index)].as_py())

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:SHOWN_IDS]))
        return f"<{len(self):,} {self._name}: {shown}{', ...' if len(self) > SHOWN_IDS else ''}>"

    def find(self, ids: Values) -> NDArray[np.int64]:
        """Dense index of each raw id, `len(self)` if it is unknown: [n].

        Raises `DataError` for an invalid id.
        """
        requested = id_array(ids, self._name).dictionary_encode()
        # Hash the few requested ids and look all ids up among them: the other way round takes 70 times as long for
        # one id among millions, and building a permanent index would take seconds.
        place_U = pc.index_in(self._ids, value_set=requested.dictionary)
        known = np.flatnonzero(place_U.is_valid())
        index_D = np.full(len(requested.dictionary), len(self), np.int64)
        index_D[place_U.drop_null().to_numpy()] = known
        index: NDArray[np.int64] = index_D[requested.indices.to_numpy()]
        return index

    def texts(self, ids: Values) -> list[str]:
        """Raw ids, known or not, as Python strings; a single id becomes a list of one."""
        texts: list[str] = id_array(ids, self._name).to_pylist()
        return texts

    @property
    def array(self) -> pa.StringArray:
        """All ids; position = dense index."""
        return self._ids

    def take(self, indices: NDArray[np.int64]) -> list[str]:
        """The raw ids of known indices."""
        texts: list[str] = self._ids.take(pa.array(indices)).to_pylist()
        return texts


def id_array(ids: Values, name: str = "ids") -> pa.StringArray:
    """Raw ids as text. Raises `DataError`, which calls them `name`, for an invalid id."""
    wanted = Wanted(name, "text or whole numbers")
    column = as_column(ids, wanted)
    if not len(column):
        return pa.array([], pa.string())
    if isinstance(column, list):
        return _of_values(column, wanted)
    if isinstance(column, np.ndarray):
        return _of_numpy(column, wanted)
    return _of_arrow(column, wanted)


def _of_arrow(array: pa.Array, wanted: Wanted) -> pa.StringArray:
    kind, is_kind = array.type, pa.types
    is_text = is_kind.is_string(kind) or is_kind.is_large_string(kind) or is_kind.is_string_view(kind)
    is_decimal = is_kind.is_decimal(kind)
    if not (is_text or is_kind.is_integer(kind) or (is_decimal and kind.scale == 0)):
        raise wanted.wrong(f"not Arrow's {kind}", OF_FRACTIONS * (is_decimal or is_kind.is_floating(kind)))
    try:
        return array.cast(pa.string())
    except pa.ArrowException as error:
        raise wanted.unreadable(error) from None


def _of_numpy(array: NDArray[Any], wanted: Wanted) -> pa.StringArray:
    if array.dtype.kind not in "iu":
        hint = {"f": OF_FRACTIONS, "S": OF_BYTES}.get(array.dtype.kind, "")
        raise wanted.wrong(f"not NumPy's {array.dtype}", hint)
    native = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return pa.array(native).cast(pa.string())


def _of_values(values: list[Any], wanted: Wanted) -> pa.StringArray:
    kinds = set(map(type, values))
    if kinds == {int}:
        # All at once if they fit into 64 bits.
        with suppress(OverflowError, pa.ArrowInvalid):
            return pa.array(values, pa.int64()).cast(pa.string())
    texts = values if kinds == {str} else [_text(place, one, wanted) for place, one in enumerate(values)]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        wrong = next(place for place, text in enumerate(texts) if not is_utf8(text))
        hint = "it contains half of a surrogate pair, which UTF-8 cannot encode"
        raise wanted.refused(wrong, texts[wrong], hint) from None


def _text(place: int, one: Any, wanted: Wanted) -> str:
    value = unwrapped(one)
    if isinstance(value, str):
        # The text itself: a subclass, such as an enumeration, may print as something else.
        return str.__str__(value)
    # NumPy counts a timedelta64 as a whole number.
    is_whole = isinstance(value, Integral) and not isinstance(value, bool | np.timedelta64)
    if is_whole or (isinstance(value, Decimal) and value.as_tuple().exponent == 0):
        return _digits(place, int(value), wanted)
    if is_bytes(value):
        raise wanted.refused(place, value, OF_BYTES)
    if isinstance(value, list | tuple) or getattr(value, "ndim", 0) > 0:
        raise wanted.not_flat(f"with a {type(value).__name__} as {wanted.name}[{place}]")
    raise wanted.refused(place, value, OF_FRACTIONS * isinstance(value, float | np.floating | Decimal))


def _digits(place: int, number: int, wanted: Wanted) -> str:
    try:
        return str(number)
    except ValueError:
        # Python prints no number of more than 4300 digits.
        raise wanted.refused(place, number, "give it as text") from None


def require_same_length(**arrays: NDArray[Any]) -> None:
    """Raise `DataError` if arrays that belong together differ in length."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{count} {name}" for name, count in lengths.items())
        raise DataError(f"arrays that belong together differ in length: {counts}")


def pair_up(user_N: NDArray[np.int64], item_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Users and items as pairs; a single user or item is paired with every one of the other side."""
    if len(user_N) != 1 and len(item_N) != 1:
        require_same_length(user_ids=user_N, item_ids=item_N)
    users, items = np.broadcast_arrays(user_N, item_N)
    return users.copy(), items.copy()
