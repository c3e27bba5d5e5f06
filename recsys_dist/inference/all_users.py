"""Lists for all users of a model, written block by block into one Parquet file.

B users of a block, I items, P users of a smaller block, n places of a list, N filled places or seen pairs
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from recsys_dist.errors import ConfigError
from recsys_dist.inference.criterion import RankingCriterion
from recsys_dist.inference.items.choice import ItemChoice
from recsys_dist.inference.predictor import Predictor
from recsys_dist.inference.pruning.search import PrunedSearch, pruned_search
from recsys_dist.inference.ranker import Ranker
from recsys_dist.inference.recommend import wanted_pairs
from recsys_dist.inference.seen import SeenPairs
from recsys_dist.inference.top import require_list_length
from recsys_dist.kernels.in_threads import in_threads
from recsys_dist.storage.folder import Folder

ResultT = TypeVar("ResultT")
BLOCK_FLOATS = 1 << 24
"""Scores held at once, 64 MiB: few enough to stay near the caches until the best are selected, and enough rows for
an efficient matrix product (measured from 2^22 to 2^25)."""
GROUP_ROWS = 1 << 20
"""Rows that are written together."""
COLUMNS = {
    "user_id": pa.string(),
    "rank": pa.int32(),
    "item_id": pa.string(),
    "title": pa.string(),
    "score": pa.float32(),
    "std": pa.float32(),
}
"""In this order; `std` is left out if the model has no uncertainty."""
ALL_ITEMS = ItemChoice()


class Written(NamedTuple):
    """Counts of a file of lists."""

    num_lines: int
    num_empty: int
    """Users without a line: none of the items that their list may contain is unseen."""


def check_lists_file(path: Path) -> None:
    """Raise `ConfigError` if the name of the output file does not end in .parquet."""
    if path.suffix != ".parquet":
        raise ConfigError(f"--output {path}: with --all-users the name must end in .parquet")


def write_all_lists(
    predictor: Predictor,
    path: Path,
    n: int,
    include_seen: bool,
    order: RankingCriterion,
    progress: Callable[[str, int, int], None],
    choice: ItemChoice = ALL_ITEMS,
) -> Written:
    """Write one row per user and rank, users in the order of the model, of the items of a choice.

    Columns: user_id, rank from 1, item_id, title (null if unknown), score (the predicted rating, or the score of a
    model that ranks) and, if the model has an uncertainty, std, its standard deviation. The file is written whole
    or left unchanged. Raises `ConfigError` if n is below 1, or if the criterion needs an uncertainty that the
    model lacks.
    """
    final = path.resolve()
    check_lists_file(final)
    catalog = predictor.catalog
    num_users, num_lines, num_empty = len(catalog.user_ids), 0, 0
    require_list_length(n)
    best = _Best(predictor, order, choice, n)
    schema, titles = _schema(predictor), catalog.titles

    def of_block(user_B: NDArray[np.int64]) -> tuple[pa.Table, int, int]:
        """Lines of these users, how many users have none, and the last user."""
        seen = [] if include_seen else [catalog.train_ratings.of_users(user_B)]
        users = predictor.known(user_B)
        item_Bn, score_Bn = best.of(users, user_B, seen)
        lines = _lines(predictor, schema, titles, user_B, users, item_Bn, score_Bn)
        return lines, int(score_Bn[:, 0].isneginf().sum()), int(user_B[-1])

    blocks = (
        np.arange(start, min(start + best.users_at_once, num_users))
        for start in range(0, num_users, best.users_at_once)
    )
    with (
        Folder(str(final.parent)).writer(final.name) as stream,
        pq.ParquetWriter(stream, schema) as writer,
        closing(best.results(of_block, blocks)) as done,
    ):
        waiting: list[pa.Table] = []
        for lines, empty, last in done:
            waiting.append(lines)
            num_lines, num_empty = num_lines + len(lines), num_empty + empty
            progress("users", last + 1, num_users)
            if sum(map(len, waiting)) >= GROUP_ROWS or last + 1 == num_users:
                writer.write_table(pa.concat_tables(waiting))
                waiting.clear()
    return Written(num_lines, num_empty)


class _Best:
    """The n best items of blocks of users: by a search that skips items, or by scoring all of them."""

    def __init__(self, predictor: Predictor, order: RankingCriterion, choice: ItemChoice, n: int) -> None:
        self._predictor, self._n = predictor, n
        self._ranker = Ranker(predictor, order, choice)
        self._search: PrunedSearch | None = None
        if not self._ranker.is_by_pairs:
            self._search = pruned_search(predictor, order, choice, n)
        self._scored_at_once = self._ranker.users_at_once(max(1, BLOCK_FLOATS // self._ranker.row_floats))
        self.users_at_once = self._scored_at_once if self._search is None else self._search.users_at_once
        """B, which bounds memory."""

    def results(
        self, of_block: Callable[[NDArray[np.int64]], ResultT], blocks: Iterable[NDArray[np.int64]]
    ) -> Generator[ResultT, None, None]:
        """Results of blocks in their order: several at a time if items are skipped."""
        if self._search is None:
            yield from map(of_block, blocks)
        else:
            yield from in_threads(of_block, blocks, torch.get_num_threads())

    def of(
        self, users: Any, user_B: NDArray[np.int64], seen: Sequence[SeenPairs]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Items and scores of the n best of each user, see `top_items`."""
        if self._search is None:
            return self._ranker.best(users, user_B, self._n, seen)
        return self._search.best(users, seen) or self._of_all_scores(user_B, seen)

    def _of_all_scores(
        self, user_B: NDArray[np.int64], seen: Sequence[SeenPairs]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        items, scores = [], []
        for start in range(0, len(user_B), self._scored_at_once):
            user_P = user_B[start : start + self._scored_at_once]
            here = [_of_rows(pairs, start, start + len(user_P)) for pairs in seen]
            item_Pn, score_Pn = self._ranker.best(self._predictor.known(user_P), user_P, self._n, here)
            items.append(item_Pn)
            scores.append(score_Pn)
        return torch.cat(items), torch.cat(scores)


def _of_rows(pairs: SeenPairs, start: int, stop: int) -> SeenPairs:
    position_N, item_N = pairs
    is_here_N = (position_N >= start) & (position_N < stop)
    return position_N[is_here_N] - start, item_N[is_here_N]


def _schema(predictor: Predictor) -> pa.Schema:
    has_stds = predictor.scorer.uncertainty is not None
    return pa.schema([(name, kind) for name, kind in COLUMNS.items() if name != "std" or has_stds])


def _lines(
    predictor: Predictor,
    schema: pa.Schema,
    titles: pa.StringArray,
    user_B: NDArray[np.int64],
    users: Any,
    item_Bn: torch.Tensor,
    score_Bn: torch.Tensor,
) -> pa.Table:
    row_N, item_N, _ = wanted_pairs(item_Bn, score_Bn)
    place_N = (~score_Bn.isneginf()).nonzero()[:, 1].cpu().numpy()
    columns = {
        "user_id": predictor.catalog.user_ids.array.take(pa.array(user_B[row_N])),
        "rank": pa.array(place_N + 1, pa.int32()),
        "item_id": predictor.catalog.item_ids.array.take(pa.array(item_N)),
        "title": titles.take(pa.array(item_N)),
        "score": pa.array(predictor.ratings(users, row_N, item_N)),
    }
    if "std" in schema.names:
        columns["std"] = pa.array(predictor.stds(users, row_N, item_N))
    return pa.table(columns, schema=schema)
