"""Train batches of an AutoRec: dropout, and prefetch of the next batch.

    B rows of a batch, N train ratings of them, C columns, H hidden units

Dropout drops input entries (Vincent et al. 2008; without it, an autoencoder with users as rows learns to copy its
input) and hidden units (Srivastava et al. 2014). The dropout mask depends only on the seed, the epoch and the row
or rating, so it is the same on any number of ranks.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace
from threading import Thread

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.loader import RowBatch, RowLoader
from recsys_dist.families.autorec.network.encoder import Baseline, RowFacts
from recsys_dist.families.autorec.network.network import Batch
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.search import Choice
from recsys_dist.kernels.keyed_random import keyed_mask
from recsys_dist.kernels.sampled import Pattern
from recsys_dist.kernels.sparse import Csr

INPUT_STREAM, HIDDEN_STREAM = 2, 3
"""Third seed next to seed and epoch, so that the draws differ from each other and from all other draws."""


@dataclass(frozen=True)
class _KeptInput:
    """The input entries that dropout keeps: their mask and their sparsity pattern."""

    entries_N: torch.Tensor
    pattern: Pattern


@dataclass(frozen=True)
class _Prepared:
    """The part of a batch that does not depend on parameters."""

    rows: RowBatch
    pattern: Pattern
    kept: _KeptInput | None
    hidden_weight_BH: torch.Tensor | None


class AutorecBatches:
    """This rank's part of each global batch."""

    def __init__(
        self,
        loader: RowLoader,
        columns: tuple[int, int],
        all_columns: int,
        settings: AutorecSettings,
        choice: Choice,
        seed: int,
        device: torch.device,
    ) -> None:
        """`columns` are start and stop of the loader's columns among `all_columns`; the loader counts from 0."""
        self._loader, self._columns, self._all_columns = loader, columns, all_columns
        self._input_dropout, self._hidden_dropout = choice.input_dropout, choice.hidden_dropout
        self._settings, self._seed, self._device = settings, seed, device
        self._ahead: tuple[tuple[int, int], Future[_Prepared]] | None = None

    def batch(self, epoch: int, step: int, baseline: Baseline, facts: RowFacts) -> Batch:
        """Batch `step` of `epoch`, given the facts of all rows of the loader. Starts to prepare the next batch."""
        if self._settings.optimizer == "lbfgs":
            # The objective must be the same to the last bit in every pass, and so must the order of its terms.
            epoch = 0
        prepared = self._prepared(epoch, step)
        is_last = step + 1 == self._loader.steps
        next_epoch = 0 if self._settings.optimizer == "lbfgs" else epoch + 1
        following = (next_epoch, 0) if is_last else (epoch, step + 1)
        self._ahead = following, self._begin(*following)
        rows = torch.from_numpy(prepared.rows.rows - self._loader.first_row).to(self._device)
        batch = Batch.of_rows(self._csr(prepared.rows), prepared.pattern, baseline, facts.at(rows))
        if prepared.kept is not None:
            weight = 1 / (1 - self._input_dropout)
            batch = batch.with_input(prepared.kept.entries_N, prepared.kept.pattern, weight)
        return replace(batch, hidden_weight_BH=prepared.hidden_weight_BH)

    def close(self) -> None:
        """Wait for the prefetch to end, so that others may use the loader."""
        if self._ahead is not None:
            self._ahead[1].exception()
            self._ahead = None

    def _prepared(self, epoch: int, step: int) -> _Prepared:
        if self._ahead is not None:
            # Wait even for another batch, as after loading a state: the loader serves one thread at a time.
            ahead = self._ahead[1].result()
            if self._ahead[0] == (epoch, step):
                return ahead
        return self._prepare(epoch, step)

    def _begin(self, epoch: int, step: int) -> Future[_Prepared]:
        """Prepare a batch in a thread of its own."""
        prepared: Future[_Prepared] = Future()

        def prepare() -> None:
            try:
                prepared.set_result(self._prepare(epoch, step))
            except BaseException as error:
                prepared.set_exception(error)

        Thread(target=prepare, name=f"batch {step} of epoch {epoch}").start()
        return prepared

    def _prepare(self, epoch: int, step: int) -> _Prepared:
        rows = self._loader.batch(epoch, step)
        pattern = self._pattern(rows.indptr, rows.indices)
        return _Prepared(rows, pattern, self._kept_input(rows, epoch), self._hidden_weights(rows, epoch))

    def _kept_input(self, rows: RowBatch, epoch: int) -> _KeptInput | None:
        dropout = self._input_dropout
        if not dropout:
            return None
        first_N = np.repeat(rows.rows * self._all_columns + self._columns[0], np.diff(rows.indptr))
        place_N = first_N + rows.indices
        kept_N = keyed_mask((self._seed, epoch, INPUT_STREAM), place_N, 1 - dropout)
        # Cumulative count of kept entries, taken at the start of each row.
        indptr = np.concatenate([[0], np.cumsum(kept_N)])[rows.indptr]
        pattern = self._pattern(indptr, rows.indices[kept_N])
        return _KeptInput(torch.from_numpy(kept_N).to(self._device), pattern)

    def _hidden_weights(self, rows: RowBatch, epoch: int) -> torch.Tensor | None:
        """0 for dropped hidden units, 1 / (1 - dropout) for the others: float32 [B, H]"""
        dropout, hidden = self._hidden_dropout, self._settings.hidden[-1]
        if not dropout:
            return None
        place_BH = rows.rows[:, np.newaxis] * hidden + np.arange(hidden)
        kept_BH = keyed_mask((self._seed, epoch, HIDDEN_STREAM), place_BH, 1 - dropout)
        return torch.from_numpy((kept_BH / (1 - dropout)).astype(np.float32)).to(self._device)

    def _pattern(self, indptr: NDArray[np.integer], indices: NDArray[np.integer]) -> Pattern:
        return Pattern.from_numpy(indptr, indices, self._num_columns, self._device)

    @property
    def _num_columns(self) -> int:
        return self._columns[1] - self._columns[0]

    def _csr(self, rows: RowBatch) -> Csr:
        return Csr.from_numpy(rows.indptr, rows.indices, rows.values, self._num_columns, self._device)
