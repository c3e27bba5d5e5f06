"""Targets `faiss` and `hnsw`: an index over item vectors, whose inner products order items as the model does.

Vectors: factors and bias of an item, factors of a user and 1, so that their product is the score of the pair. An
index may want zeros after these.

B users of a block, I items, K factors, n places of a list, D = K + 1
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.export import readme
from recsys_dist.export.output import ExportWriter, Figures
from recsys_dist.export.tables import ITEM_FIELDS, item_columns, ranges, vector_column, vector_type
from recsys_dist.inference.criterion import RankingCriterion
from recsys_dist.inference.items.choice import ItemChoice
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.ranker import Ranker
from recsys_dist.protocols.scorer import ProductScorer

SAMPLED_USERS, PLACES = 400, 10
"""Users whose lists are compared with those of the model, and the length of these lists. One half of the users
chooses the effort, the other half measures it, so that the recall is not that of the choice."""
WANTED_RECALL = 0.99
Floats = NDArray[np.float32]
Numbers = NDArray[np.int64]


class Index(Protocol):
    """An index of one library."""

    name: str
    """Of its file."""
    choice: str
    """What kind of index it is, and why."""
    zeros: int
    """Numbers that it wants at the end of a query."""
    efforts: Sequence[int]
    """What may be spent on a query, ascending; a single one if the index is exact."""

    def search(self, query_D: Floats, n: int) -> Numbers:
        """Numbers of the n items with the largest products, best first; fewer if it finds no more."""

    def spend(self, effort: int) -> str:
        """Spend so much on each query; returns how the library calls it."""

    def to_bytes(self) -> bytes:
        """The content of its file."""


@dataclass(frozen=True)
class _Sample:
    """Users, what they have seen, and the first items of their lists."""

    query_BD: Floats
    seen: list[Numbers]
    lists: list[Numbers]

    def every_second(self, start: int) -> _Sample:
        """Half of the users; all if there is but one."""
        if len(self.lists) < 2:
            return self
        return _Sample(self.query_BD[start::2], self.seen[start::2], self.lists[start::2])


def write_index(
    predictor: Predictor, out: ExportWriter, library: str, build: Callable[[Floats], Index]
) -> Figures:
    """Build an index, choose the least effort with a recall of 0.99, and write it with items and users.

    Raises `ConfigError` if scores are no inner products.
    """
    item_ID = _item_vectors(predictor, library)
    index = build(item_ID)
    sample, width = _sample(predictor, index.zeros), item_ID.shape[1] + index.zeros
    effort = _least_effort(index, sample.every_second(0))
    judging = sample.every_second(1)
    recall, seconds = _measured(index, judging)
    out.write(index.name, index.to_bytes())
    _write_items(predictor, out)
    _write_users(predictor, width, index.zeros, out)
    figures: dict[str, Any] = {
        "file": index.name,
        "index": index.choice,
        "width": width,
        "effort": effort,
        "users_compared": len(judging.lists),
        "recall_at_10": recall,
        "seconds_per_query": seconds,
    }
    text = readme.of_index(predictor.catalog.folder.manifest, library, figures, index.zeros)
    out.write("README.md", text.encode())
    return figures


def _least_effort(index: Index, sample: _Sample) -> str:
    """Spend the least effort that is enough, or else the largest; returns how the library calls it."""
    for effort in index.efforts:
        name = index.spend(effort)
        recall, _ = _measured(index, sample)
        if recall is not None and recall >= WANTED_RECALL:
            break
    return name


def _measured(index: Index, sample: _Sample) -> tuple[float | None, float | None]:
    """Recall of the lists of the sample, and seconds per query, one query at a time; None without users."""
    if not sample.lists:
        return None, None
    found, wanted, started = 0, 0, time.perf_counter()
    answers = [
        index.search(query_D, PLACES + len(seen))
        for query_D, seen in zip(sample.query_BD, sample.seen, strict=True)
    ]
    seconds = (time.perf_counter() - started) / len(answers)
    for answer, seen, exact in zip(answers, sample.seen, sample.lists, strict=True):
        unseen = answer[~np.isin(answer, seen)][:PLACES]
        found += int(np.isin(exact, unseen).sum())
        wanted += len(exact)
    return found / max(1, wanted), seconds


def equally_long(item_ID: Floats) -> Floats:
    """The items with one more number, so that all have one length: [I, D + 1] (Bachrach et al. 2014).

    With x' = (x, root of (L - |x|^2)) for an item, L the largest |x|^2, and q' = (q, 0) for a user,
    q' . x' = q . x and |q' - x'|^2 = |q|^2 + L - 2 q . x: the nearest items have the largest products.
    """
    square_I = np.square(item_ID.astype(np.float64)).sum(1)
    rest_I = np.sqrt(square_I.max() - square_I)
    return np.concatenate([item_ID, rest_I[:, None].astype(np.float32)], 1)


def _item_vectors(predictor: Predictor, library: str) -> Floats:
    """Factors and biases: [I, D]"""
    scorer = predictor.scorer
    items = scorer.item_vectors if isinstance(scorer, ProductScorer) else None
    if items is None:
        raise ConfigError(
            f"{predictor.catalog.url} cannot be exported to {library}: its scores are no inner products of a user "
            f"vector and an item vector (kind: {predictor.catalog.folder.manifest.kind}); mf, ials, AutoRec and "
            "blends of these have such scores, and --to parquet takes ease"
        )
    return torch.cat([items.vector_IK, items.bias_I.unsqueeze(1)], 1).float().cpu().numpy()


def _queries(predictor: Predictor, user_B: Numbers, zeros: int) -> torch.Tensor:
    """User vectors, 1 and zeros: [B, D + zeros]"""
    scorer = predictor.scorer
    assert isinstance(scorer, ProductScorer), "checked when the items were taken"
    vector_BK = scorer.user_vectors(predictor.known(user_B)).float().cpu()
    return torch.nn.functional.pad(torch.nn.functional.pad(vector_BK, (0, 1), value=1.0), (0, zeros))


def _sample(predictor: Predictor, zeros: int) -> _Sample:
    """A fixed draw of users with train ratings, and the exact lists of `recommend`."""
    catalog = predictor.catalog
    rated = np.flatnonzero(catalog.folder.num_train("users"))
    count = min(SAMPLED_USERS, len(rated))
    user_B = np.sort(np.random.default_rng(0).choice(rated, count, replace=False)).astype(np.int64)
    pairs = catalog.train_ratings.of_users(user_B)
    ranker = Ranker(predictor, RankingCriterion(), ItemChoice())
    seen, lists = [], list[Numbers]()
    for row, user in enumerate(user_B):
        seen.append(pairs[1][pairs[0] == row])
        one = np.array([user])
        item_1n, score_1n = ranker.best(predictor.known(one), one, PLACES, [(np.zeros_like(seen[-1]), seen[-1])])
        lists.append(item_1n[~score_1n.isneginf()].cpu().numpy())
    return _Sample(_queries(predictor, user_B, zeros).numpy(), seen, lists)


def _write_items(predictor: Predictor, out: ExportWriter) -> None:
    with out.parquet("items.parquet", pa.schema(ITEM_FIELDS)) as append:
        for start, stop in ranges(predictor.catalog.num_items):
            append(item_columns(predictor.catalog, start, stop))


def _write_users(predictor: Predictor, width: int, zeros: int, out: ExportWriter) -> None:
    """Ids, queries and seen items of all users, shard by shard."""
    catalog = predictor.catalog
    fields = [("user_id", pa.string()), ("vector", vector_type(width)), ("seen", pa.list_(pa.int64()))]
    with out.parquet("users.parquet", pa.schema(fields)) as append:
        for start, stop, seen in _seen_by_shard(predictor):
            columns = {
                "user_id": catalog.user_ids.array[start:stop],
                "vector": vector_column(_queries(predictor, np.arange(start, stop), zeros)),
                "seen": seen,
            }
            append(columns)


def _seen_by_shard(predictor: Predictor) -> Iterator[tuple[int, int, pa.ListArray]]:
    folder = predictor.catalog.folder
    for shard, rows in enumerate(folder.manifest.user_shards):
        block = folder.block(shard)
        offsets = pa.array(block.indptr.astype(np.int32))
        items = pa.array(block.indices.astype(np.int64))
        yield rows.start, rows.stop, pa.ListArray.from_arrays(offsets, items)
