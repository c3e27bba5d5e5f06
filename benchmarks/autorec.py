"""Steps of AutoRec at the size of large data: the dense one that people write, ours, and ours in other forms.

A step is forward, backward and optimizer on one batch of 1024 rows with 500 hidden units, as many columns as
270,000 users or 45,000 items make. Dense: toarray, two Linear layers, masked squared error, Adam. Each form is
measured in a process of its own: seconds, losses, and the peak memory of the steps beyond what the process held
at its start. All use all cores. `python -m benchmarks.run autorec` makes a table of them.
"""

from __future__ import annotations

import ctypes
import itertools
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy import sparse
from torch import nn

from recsys_dist.families.autorec.network.encoder import Baseline, InputForm, RowFacts
from recsys_dist.families.autorec.network.hidden_layers import Layer, hidden_units, initial_layer
from recsys_dist.families.autorec.network.network import Autorec, Batch
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.optimizer import optimizer_of, steps_by_blocks
from recsys_dist.families.bilinear.link import OutputLink
from recsys_dist.kernels.sampled import ColumnProduct, Pattern
from recsys_dist.kernels.sparse import Csr
from recsys_dist.process.heap import keep_freed_memory

CPU = torch.device("cpu")
ROWS, HIDDEN, LEARNING_RATE = 1024, 500, 1e-3
SIDES = {"users": (45_000, 100), "items": (270_000, 600)}
"""What the rows are: how many columns, and ratings per row."""
STEPS, WARM_STEPS = 7, 2
OptimizerName = Literal["adam", "rowwise_rmsprop"]


def ratings(num_columns: int, per_row: int, spread: int = 1, dealt: int = 1) -> sparse.csr_matrix:
    """Ratings from 1 to 5 of ROWS rows, popular columns first, over `spread` times as many columns.

    Those of one column are dealt out to the first `dealt` of the `spread` that are in its place.
    """
    rng = np.random.default_rng(0)
    row = np.repeat(np.arange(ROWS), rng.multinomial(ROWS * per_row, np.full(ROWS, 1 / ROWS)))
    column = (rng.random(len(row)) ** 3 * num_columns).astype(np.int64) * spread + rng.integers(0, dealt, len(row))
    shape = (ROWS, num_columns * spread)
    matrix = sparse.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=shape)
    matrix.data = rng.integers(1, 6, matrix.nnz).astype(np.float32)
    return matrix


@dataclass(frozen=True)
class Measured:
    """Seconds of the parts of each step, the last of them the whole; losses; bytes beyond those held before."""

    seconds: list[tuple[float, ...]]
    losses: list[float]
    peak: int

    def median(self, part: int = -1) -> float:
        """Seconds of the steps after the first ones."""
        return statistics.median(seconds[part] for seconds in self.seconds[WARM_STEPS:])


@torch.no_grad()
def start(tables: tuple[torch.Tensor, torch.Tensor], num_columns: int) -> None:
    """The same starting values for encoder and decoder, [C, H] each, of both programs."""
    generator = torch.Generator().manual_seed(0)
    for table in tables:
        table.copy_(0.01 * torch.randn(num_columns, HIDDEN, generator=generator))


def measure(step: Callable[[], tuple[float, tuple[float, ...]]], held: int) -> Measured:
    # Starting values are drawn beside the parameters; a step is to be measured.
    forget_peak()
    losses, seconds = zip(*(step() for _ in range(STEPS)), strict=True)
    return Measured(list(seconds), list(losses), peak_bytes() - held)


def peak_bytes() -> int:
    """The most that this process has held since its start, or since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def forget_peak() -> None:
    """Let the most that this process has held be what it needs now (malloc_trim(3); proc(5), clear_refs)."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


class LazyAdam:
    """Adam that moves only the columns that a batch has met, as torch has it."""

    def __init__(self, model: Autorec) -> None:
        self._later = model.leave_for_later()
        behind = [p for p in model.parameters() if p is not model.encoder and p is not model.decoder]
        self._optimizers = [torch.optim.SparseAdam([*self._later]), torch.optim.Adam(behind, fused=True)]

    def step(self, learning_rate: float, evaluate: Callable[[], object], _: Callable[[], float]) -> None:
        evaluate()
        for table, products in self._later.items():
            table.grad = rows_gradient(products.pop())
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()


def rows_gradient(product: ColumnProduct) -> torch.Tensor:
    """Of the columns that have entries: sparse [C, H]."""
    indptr = product.pattern.columns_indptr
    met = indptr.diff().nonzero().squeeze(1)
    alone = replace(product.pattern, columns_indptr=torch.cat([indptr[met], indptr[-1:]]))
    values = alone.columns_sum(product.weights_N, product.table_BH)
    size = (len(indptr) - 1, values.shape[1])
    return torch.sparse_coo_tensor(met.unsqueeze(0), values, size, is_coalesced=True, check_invariants=False)


def sparse_steps(
    matrix: sparse.csr_matrix, lazy: bool = False, optimizer_name: OptimizerName = "adam"
) -> Measured:
    """The step of this project, the batch prepared anew each time; `lazy`: with another Adam."""
    keep_freed_memory()
    held, num_columns = peak_bytes(), matrix.shape[1]
    baseline = Baseline(3.0, torch.zeros(num_columns), 1.0, 2.0, InputForm("mean"))
    model = Autorec(baseline, (HIDDEN,), "sigmoid", OutputLink("identity", 1.0, 5.0, 3.0), seed=0)
    start((model.encoder, model.decoder), num_columns)
    settings = AutorecSettings(kind="autorec", hidden=(HIDDEN,), optimizer=optimizer_name)
    by_blocks = steps_by_blocks(settings, False, CPU)
    optimizer = (
        LazyAdam(model) if lazy else optimizer_of(model, settings, 0.0, matrix.nnz, 0.0, by_blocks=by_blocks)
    )
    facts = RowFacts(torch.zeros(ROWS), torch.from_numpy(np.diff(matrix.indptr)).float())

    def step() -> tuple[float, tuple[float, ...]]:
        begin = time.perf_counter()
        rows = Csr.from_numpy(matrix.indptr, matrix.indices, matrix.data, num_columns, CPU)
        pattern = Pattern.from_numpy(matrix.indptr, matrix.indices, num_columns, CPU)
        batch = Batch.of_rows(rows, pattern, baseline, facts)
        prepared = time.perf_counter()
        found: list[tuple[float, float]] = []

        def evaluate() -> None:
            model.zero_grad()
            loss = (model(batch) - batch.rating_N).square().mean()
            loss.backward()
            found.append((loss.item(), time.perf_counter()))

        optimizer.step(LEARNING_RATE, evaluate, lambda: 0.0)
        ((loss, differentiated),), end = found, time.perf_counter()
        return loss, (prepared - begin, differentiated - prepared, end - differentiated, end - begin)

    return measure(step, held)


def dense_steps(matrix: sparse.csr_matrix) -> Measured:
    """The step on dense rows, as it is written where the data is small."""
    held, num_columns = peak_bytes(), matrix.shape[1]
    encoder, decoder = nn.Linear(num_columns, HIDDEN), nn.Linear(HIDDEN, num_columns)
    start((encoder.weight.T, decoder.weight), num_columns)
    with torch.no_grad():
        encoder.bias.zero_()
        decoder.bias.zero_()
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE)

    def step() -> tuple[float, tuple[float, ...]]:
        begin = time.perf_counter()
        rating = torch.from_numpy(matrix.toarray())
        mask = rating > 0
        optimizer.zero_grad()
        predicted = decoder(torch.sigmoid(encoder((rating - 3.0) * mask))) + 3.0
        loss = ((predicted - rating) * mask).square().sum() / mask.sum()
        loss.backward()
        optimizer.step()
        return loss.item(), (time.perf_counter() - begin,)

    return measure(step, held)


def apart(steps: Callable[..., Measured], matrix: sparse.csr_matrix) -> Measured:
    """The steps in a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(steps, (matrix,))


def layer_seconds(compute: torch.dtype) -> float:
    """Forward and backward through the layers between 500, 250 and 500 hidden units, the median."""
    entered_BH = torch.randn(ROWS, HIDDEN).requires_grad_()
    units = (HIDDEN, HIDDEN // 2, HIDDEN)
    layers = [
        Layer(*(part.requires_grad_() for part in initial_layer(0, number, before, after, CPU)))
        for number, (before, after) in enumerate(itertools.pairwise(units), 1)
    ]
    seconds = []
    for _ in range(50):
        begin = time.perf_counter()
        hidden_units(entered_BH, torch.zeros(HIDDEN), layers, "sigmoid", compute).sum().backward()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[5:])
