"""An index of FAISS: exact up to some size, by inverted lists beyond.

Inverted lists are searched by distance, with the vectors of `equally_long`: lists by inner product need several
times as long for the same recall.

I items, D numbers of a vector
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_dist.export.index import Floats, Numbers, equally_long, write_index
from recsys_dist.export.output import ExportWriter, Figures
from recsys_dist.export.tools import tools_of
from recsys_dist.inference.predictor import Predictor

EXACT_NUMBERS = 1 << 24
"""An exact index of at most so many numbers reads 64 MiB for a query, within milliseconds."""
TRAINED_PER_LIST = 64
"""Vectors of a sample for each inverted list, from which its centre is found."""


def write_faiss(predictor: Predictor, out: ExportWriter) -> Figures:
    """Write the index of a model, its items and its users. Raises `ConfigError` without the extra."""
    with tools_of("faiss"):
        import faiss  # noqa: F401, PLC0415

    return write_index(predictor, out, "faiss", FaissIndex)


class FaissIndex:
    """Implements the protocol of index.py."""

    name = "items.faiss"

    def __init__(self, item_ID: Floats) -> None:
        num_items = len(item_ID)
        if item_ID.size <= EXACT_NUMBERS:
            self.choice = f"IndexFlatIP, exact: {num_items:,} items are few enough to scan"
            self.efforts: Sequence[int] = [0]
            self.zeros, self._index = 0, _flat(item_ID)
            return
        num_lists = int(4 * num_items**0.5)
        self.choice = (
            f"IndexIVFFlat by distance, {num_lists:,} lists: {num_items:,} items are too many to scan, "
            f"{item_ID.nbytes / 1e6:,.0f} MB for each query"
        )
        self.efforts = [2**power for power in range(3, num_lists.bit_length())] + [num_lists]
        self.zeros, self._index = 1, _inverted_lists(equally_long(item_ID), num_lists)

    def search(self, query_D: Floats, n: int) -> Numbers:
        """One query; FAISS fills missing places with -1."""
        _, item_1n = self._index.search(query_D[None], min(n, self._index.ntotal))
        found: Numbers = item_1n[0][item_1n[0] >= 0]
        return found

    def spend(self, effort: int) -> str:
        """Visit so many lists; the file holds the number."""
        if effort == 0:
            return "exact"
        self._index.nprobe = effort
        return f"nprobe {effort}"

    def to_bytes(self) -> bytes:
        """As `faiss.write_index` writes it."""
        import faiss  # noqa: PLC0415

        return bytes(faiss.serialize_index(self._index))


def _flat(item_ID: Floats) -> Any:
    import faiss  # noqa: PLC0415

    index = faiss.IndexFlatIP(item_ID.shape[1])
    index.add(item_ID)
    return index


def _inverted_lists(item_ID: Floats, num_lists: int) -> Any:
    import faiss  # noqa: PLC0415

    index = faiss.index_factory(item_ID.shape[1], f"IVF{num_lists},Flat", faiss.METRIC_L2)
    index.train(_some(item_ID, num_lists * TRAINED_PER_LIST))
    index.add(item_ID)
    return index


def _some(item_ID: Floats, count: int) -> NDArray[np.float32]:
    if len(item_ID) <= count:
        return item_ID
    chosen = np.random.default_rng(0).choice(len(item_ID), count, replace=False)
    return item_ID[np.sort(chosen)]
