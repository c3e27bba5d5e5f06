"""What a training step of AutoRec costs in its forms, and what its optimizers reach."""

from __future__ import annotations

from functools import partial

import torch

from benchmarks import autorec as steps
from benchmarks.commands import evaluate, ml1m, train
from benchmarks.suites.suite import GIGABYTE, Measured, Options, significant

MILLISECONDS = 1e3
OPTIMIZERS = {"Adam": "adam", "rowwise_rmsprop": "rowwise_rmsprop"}
SIDES = {"item-AutoRec": "autorec_item", "user-AutoRec": "autorec_user"}
MOVED = 1
"""The part of a step that is its forward and backward pass."""


def autorec(_options: Options) -> Measured:
    """A step of 1024 rows, beside the dense one."""
    columns = tuple(f"rows are {side}: {size:,} columns" for side, (size, _) in steps.SIDES.items())
    title = f"A step of AutoRec: a batch of {steps.ROWS:,} rows, {steps.HIDDEN} hidden units, one process"
    table = Measured(title, "what", columns)
    for column, (size, per_row) in zip(columns, steps.SIDES.values(), strict=True):
        _add_steps(table, column, size, per_row)
    _add_lazy(table, columns[0])
    for compute in (torch.float32, torch.bfloat16):
        row = f"layers of 500, 250 and 500 units in {str(compute).removeprefix('torch.')}"
        _add_ms(table, row, columns[0], steps.layer_seconds(compute))
    return table


def _add_steps(table: Measured, column: str, num_columns: int, per_row: int) -> None:
    matrix = steps.ratings(num_columns, per_row)
    dense, adam = (steps.apart(one, matrix) for one in (steps.dense_steps, steps.sparse_steps))
    rowwise = steps.apart(partial(steps.sparse_steps, optimizer_name="rowwise_rmsprop"), matrix)
    _add_ms(table, "a step of this package, Adam", column, adam.median())
    _add_ms(table, "the same, `optimizer: rowwise_rmsprop`", column, rowwise.median())
    _add_ms(table, "the step on dense rows in PyTorch, Adam", column, dense.median())
    _add_times(table, "dense over sparse, Adam", column, dense.median() / adam.median())
    apart = max(abs(a / b - 1) for a, b in zip(adam.losses, dense.losses, strict=True))
    table.add("largest difference of a loss from the dense one", column, f"{apart:.0e}", "share")
    for row, one in {
        "memory of the step, Adam": adam,
        "memory, rowwise_rmsprop": rowwise,
        "memory of the dense step": dense,
    }.items():
        table.add(row, column, significant(one.peak / GIGABYTE), "GB")
    for dealt, row in (
        (1, "forward and backward, twice as many columns, half of them without ratings"),
        (2, "forward and backward, the ratings spread over twice as many columns"),
    ):
        twice = steps.apart(steps.sparse_steps, steps.ratings(num_columns, per_row, spread=2, dealt=dealt))
        _add_times(table, row, column, twice.median(MOVED) / adam.median(MOVED))


def _add_lazy(table: Measured, column: str) -> None:
    """Where the rows are users: a batch meets most of the columns in any case."""
    matrix = steps.ratings(*steps.SIDES["users"])
    lazy = steps.apart(partial(steps.sparse_steps, lazy=True), matrix)
    _add_ms(table, "updating only the columns in a batch, torch.optim.SparseAdam", column, lazy.median())


def _add_ms(table: Measured, row: str, column: str, seconds: float) -> None:
    table.add(row, column, significant(MILLISECONDS * seconds), "ms")


def _add_times(table: Measured, row: str, column: str, ratio: float) -> None:
    table.add(row, column, f"{significant(ratio)} times", "ratio")


def optimizers(options: Options) -> Measured:
    """Test RMSE on MovieLens 1M by Adam and by row-wise RMSprop."""
    dataset = ml1m(options.work, options.require_ml1m())
    table = Measured(
        "MovieLens 1M, random 90/10, one split, test RMSE; else as shipped", "model", tuple(OPTIMIZERS)
    )
    for label, config in SIDES.items():
        for column, optimizer in OPTIMIZERS.items():
            run_dir = options.work / f"{config}-{optimizer}"
            train(config, dataset, run_dir, 1, f"model.optimizer={optimizer}")
            report = evaluate(dataset, run_dir, "--ranking-users", "0")
            table.add(label, column, f"{report['rmse']:.4f}", "rating")
    return table
