"""An index of usearch: a graph of items (HNSW, Malkov and Yashunin 2020).

The graph has the vectors of `equally_long`. By plain inner products a few long vectors become the neighbors of all
others, and the rest cannot be reached: with an AutoRec, whose vectors are positive, about four of ten listed items
were never found, however long the search.

I items, D numbers of a vector
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from recsys_dist.export.index import Floats, Numbers, equally_long, write_index
from recsys_dist.export.output import ExportWriter, Figures
from recsys_dist.export.tools import tools_of
from recsys_dist.inference.predictor import Predictor

NEIGHBORS, EFFORT_OF_BUILDING = 32, 128
"""Edges of an item in a layer of the graph, and candidates for them."""


def write_hnsw(predictor: Predictor, out: ExportWriter) -> Figures:
    """Write the index of a model, its items and its users. Raises `ConfigError` without the extra."""
    with tools_of("hnsw"):
        import usearch.index  # noqa: F401, PLC0415

    return write_index(predictor, out, "hnsw", HnswIndex)


class HnswIndex:
    """Implements the protocol of index.py."""

    name, zeros = "items.usearch", 1

    def __init__(self, item_ID: Floats) -> None:
        from usearch.index import Index  # noqa: PLC0415

        vector_ID, num_items = equally_long(item_ID), len(item_ID)
        self.efforts: Sequence[int] = [2**power for power in range(6, 13)]
        self.choice = f"HNSW with {NEIGHBORS} neighbors, float32, {num_items:,} items"
        self._index: Any = Index(
            ndim=vector_ID.shape[1],
            metric="ip",
            dtype="f32",
            connectivity=NEIGHBORS,
            expansion_add=EFFORT_OF_BUILDING,
        )
        self._index.add(np.arange(num_items, dtype=np.uint64), vector_ID, threads=torch.get_num_threads())

    def search(self, query_D: Floats, n: int) -> Numbers:
        """One query."""
        found: Numbers = self._index.search(query_D, min(n, len(self._index)), threads=1).keys.astype(np.int64)
        return found

    def spend(self, effort: int) -> str:
        """Keep so many candidates; the file does not hold the number."""
        self._index.expansion_search = effort
        return f"expansion_search {effort}"

    def to_bytes(self) -> bytes:
        """As `Index.save` writes it."""
        return bytes(self._index.save())
