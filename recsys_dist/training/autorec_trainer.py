"""AutoRec in training on one rank: batches of rows, parameters of all columns or of its own.

    B rows of a batch on this rank, C columns, H hidden units, N train ratings in all, T steps of an epoch

The objective J is the sum of squared errors of all train ratings, in units of the baseline's variance, plus
lambda/2 (|V|^2 + |W|^2) + column_shrinkage |output_bias|^2. Step t minimises its batch's errors plus 1/T of the
penalty, so the steps of an epoch add up to J; all is divided by N/T, which Adam does not see. The penalty enters
the gradient as the optimizer's weight decay, the same on every rank, and so counts once. A step of several
batches, all of an epoch with a full batch, takes the mean of what they give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, cast

import torch

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.data.blocks import Block
from recsys_dist.data.dataset import Dataset, Side
from recsys_dist.data.loader import (
    RowBatch,
    RowLoader,
    held_out_blocks,
    other_side,
    row_chunks,
    slice_rows,
    turned_blocks,
)
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.column_parallel import sum_backward, sum_forward
from recsys_dist.distributed.data_parallel import replicate, without_averaging
from recsys_dist.errors import CheckpointError, TrainingError
from recsys_dist.kernels.sparse import Csr
from recsys_dist.metrics import ErrorSums
from recsys_dist.models.autorec import Autorec, Baseline, ColumnExchange, OutputLink
from recsys_dist.training.autorec_batches import AutorecBatches
from recsys_dist.training.autorec_optimizer import optimizer_of
from recsys_dist.training.autorec_shares import Shares, parameter_bytes
from recsys_dist.training.baseline import fit_biases
from recsys_dist.training.config import AutorecSettings
from recsys_dist.training.trainer import EpochResult

WARM_UP = 0.1
CHUNK_ROWS = 4096
CHUNK_RATINGS = 1 << 19


class AutorecTrainer:
    """Trains an item- or user-AutoRec; every method is entered by all ranks together."""

    def __init__(
        self, dataset: Dataset, settings: AutorecSettings, epochs: int, seed: int, collectives: Collectives
    ) -> None:
        self.epochs_done = 0
        self._dataset, self._settings, self._collectives = dataset, settings, collectives
        world = collectives.world
        self._rows: Side = settings.orientation
        self._columns = other_side(self._rows)
        self._shares = Shares.of(dataset, settings, world.rank, world.size)
        self._loader, own_blocks = collectives.together("reading the train ratings", lambda: self._open(seed))
        self._batches_per_step = self._loader.steps if settings.is_full_batch else settings.accumulation
        self._total_steps = epochs * self._loader.steps
        self._batches = AutorecBatches(
            self._loader, self._shares.columns, dataset.num_rows(self._columns), settings, seed, world.device
        )
        self._build(seed, own_blocks)
        self._step = 0
        self._sums = self._zero_sums()
        """Squared errors, absolute errors and count of this rank's part of the epoch so far: float64 [3]."""
        self._valid_blocks: list[Block] | None = None

    def _open(self, seed: int) -> tuple[RowLoader, Sequence[Block]]:
        """What this rank trains on, and its whole rows."""
        dataset, shares, size = self._dataset, self._shares, self._settings.batch_size
        if not shares.is_sharded:
            loader = RowLoader.of_rows(dataset, self._rows, shares.row_shards, size, seed)
            return loader, loader.blocks
        loader = RowLoader.of_columns(dataset, self._rows, shares.column_shards, size, seed)
        return loader, [dataset.block(self._rows, shard) for shard in shares.row_shards]

    def _build(self, seed: int, blocks: Sequence[Block]) -> None:
        """Parameters and their optimizer, from the baseline of the whole rows of all ranks."""
        manifest, settings, collectives = self._dataset.manifest, self._settings, self._collectives
        biases = fit_biases(blocks, self._dataset.num_rows(self._columns), manifest.rating.mean, collectives)
        self._column_shrinkage = biases.column_shrinkage
        baseline = Baseline.of(biases, settings.centring, collectives.world.device)
        self._row_bias_R = self._row_biases(blocks, baseline)
        output = OutputLink(settings.output_activation, manifest.rating.min, manifest.rating.max, baseline.mean)
        first, last = self._shares.columns
        self._model = Autorec(
            baseline.columns(first, last),
            settings.hidden,
            settings.hidden_activation,
            output,
            seed,
            first,
            self._exchange(),
            settings.tied,
        )
        self._replica = self._model if self._shares.is_sharded else replicate(self._model, collectives)
        self._optimizer = optimizer_of(
            self._model,
            settings,
            manifest.num_ratings["train"],
            self._column_shrinkage,
            collectives.sum_ if self._shares.is_sharded else None,
        )

    def _row_biases(self, blocks: Sequence[Block], baseline: Baseline) -> torch.Tensor:
        """Of all rows that this rank sees: [R]"""
        num_columns, device = self._dataset.num_rows(self._columns), self._collectives.world.device
        own_R = torch.cat(
            [
                torch.zeros(0, dtype=torch.float32, device=device),
                *(
                    baseline.row_biases(
                        Csr.from_numpy(block.indptr, block.indices, block.values, num_columns, device)
                    )
                    for block in blocks
                ),
            ]
        )
        if not self._shares.is_sharded:
            return own_R
        return self._collectives.gather_rows(own_R, self._shares.row_ranges)

    def _exchange(self) -> ColumnExchange | None:
        if not self._shares.is_sharded:
            return None
        return ColumnExchange(
            partial(sum_forward, collectives=self._collectives),
            partial(sum_backward, collectives=self._collectives),
        )

    @property
    def has_converged(self) -> bool:
        """Whether the optimizer says so, which only L-BFGS does."""
        return self._optimizer.has_converged

    @property
    def is_searching(self) -> bool:
        """Never: nothing is tried out."""
        return False

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Run the batches of an epoch that are left; asks `should_stop` before each step."""
        received = self._collectives.received_bytes
        while self._step < self._loader.steps:
            if should_stop():
                return self._result(received, finished=False)
            self._train_step(range(self._step, min(self._step + self._batches_per_step, self._loader.steps)))
        result = self._result(received, finished=True)
        self.epochs_done += 1
        self._step = 0
        self._sums = self._zero_sums()
        return result

    def _train_step(self, batches: range) -> None:
        self._optimizer.step(self._learning_rate(), partial(self._evaluate, batches), self._mean_square)
        self._step = batches.stop

    def _evaluate(self, batches: range) -> None:
        """The gradients of the errors of these batches, the same on every rank, and the errors themselves."""
        if self._settings.is_full_batch:
            # A line search comes here several times; its last point, as a rule the one it takes, counts.
            self._sums = self._zero_sums()
        self._replica.zero_grad(set_to_none=True)
        for number in batches:
            is_last = number == batches.stop - 1
            with nullcontext() if is_last else without_averaging(self._replica):
                self._add_gradients(number, 1 / len(batches))
        if not self._shares.is_sharded:
            self._collectives.count_all_reduce(parameter_bytes(len(self._model.decoder), self._settings))

    def _mean_square(self) -> float:
        """Of the errors of the epoch, over all ranks, in units of the baseline's variance."""
        squared = float(self._collectives.sum_(self._sums[:1].clone()))
        return squared / (self._dataset.manifest.num_ratings["train"] * self._model.baseline.scale**2)

    def _add_gradients(self, number: int, share: float) -> None:
        batch = self._batches.batch(self.epochs_done, number, self._model.baseline, self._row_bias_R)
        error_N = self._replica(batch) - batch.rating_N
        # The average over ranks of world x local sum is the sum over the global batch; N/T is its mean length.
        # Sharded columns have gradients of their own, which nobody averages.
        averaged = 1 if self._shares.is_sharded else self._collectives.world.size
        mean_length = self._dataset.manifest.num_ratings["train"] / self._loader.steps
        weight = share * averaged / (mean_length * self._model.baseline.scale**2)
        (error_N.square().sum() * weight).backward()
        error_N = error_N.detach().double()
        self._sums[0] += error_N.square().sum()
        self._sums[1] += error_N.abs().sum()
        self._sums[2] += len(error_N)

    def _learning_rate(self) -> float:
        """A straight rise over the first WARM_UP of all steps, times half a cosine to 0 over all of them."""
        done = (self.epochs_done * self._loader.steps + self._step + 1) / (self._total_steps + 1)
        rise = min(1.0, done / WARM_UP)
        return self._settings.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def _csr(self, rows: RowBatch) -> Csr:
        device = self._collectives.world.device
        return Csr.from_numpy(rows.indptr, rows.indices, rows.values, len(self._model.decoder), device)

    def validate(self) -> ErrorSums:
        """Errors over the valid split; each rank predicts the pairs of its own rows or columns, by blocks."""
        if self._valid_blocks is None:
            self._valid_blocks = self._collectives.together("reading the valid ratings", self._read_valid)
        sums = ErrorSums()
        for block, pairs in zip(self._loader.blocks, self._valid_blocks, strict=True):
            for start, stop in self._chunks(block):
                sums += self._chunk_errors(slice_rows(block, start, stop), slice_rows(pairs, start, stop))
        local = torch.tensor(
            [sums.squared, sums.absolute, sums.count],
            dtype=torch.float64,
            device=self._collectives.world.device,
        )
        return _error_sums(self._collectives.sum_(local))

    def _read_valid(self) -> list[Block]:
        if not self._shares.is_sharded:
            return held_out_blocks(self._dataset, "valid", self._rows, self._shares.row_shards)
        by_column = held_out_blocks(self._dataset, "valid", self._columns, self._shares.column_shards)
        return turned_blocks(by_column, self._loader.shards)

    def _chunks(self, block: Block) -> Iterator[tuple[int, int]]:
        if self._shares.is_sharded:
            # The same on every rank, whatever its columns hold.
            return (
                (start, min(start + CHUNK_ROWS, block.num_rows)) for start in range(0, block.num_rows, CHUNK_ROWS)
            )
        return row_chunks(block, CHUNK_ROWS, CHUNK_RATINGS)

    def _chunk_errors(self, rows: RowBatch, pairs: RowBatch) -> ErrorSums:
        if len(pairs.values) == 0 and not self._shares.is_sharded:
            return ErrorSums()
        first = int(rows.rows[0]) - self._loader.first_row
        row_bias_R = self._row_bias_R[first : first + len(rows.rows)]
        predicted_N = self._model.predict(self._csr(rows), row_bias_R, self._csr(pairs))
        return ErrorSums.of(predicted_N.cpu().numpy(), pairs.values)

    def state(self) -> TrainerState:
        """Own columns, or an even range of the rows of each replicated table, and the place in the epoch."""
        model = self._model
        tables = {}
        for name, parameters in self._parameters().items():
            own = self._own_columns if name == "columns" else self._own_rows
            also = {"column_bias": model.baseline.column_bias_C} if name == "columns" else {}
            tables[name] = own({**parameters, **also})
            moments = self._optimizer.moments_of(parameters)
            if moments:
                tables[f"optimizer_{name}"] = own(moments)
        values: dict[str, Any] = {
            "epoch": self.epochs_done,
            "step": self._step,
            "sums": self._saved_sums(),
            "optimizer": self._optimizer.values(),
            "mean": model.baseline.mean,
            "scale": model.baseline.scale,
            "row_shrinkage": model.baseline.row_shrinkage,
            "column_shrinkage": self._column_shrinkage,
        }
        return TrainerState(tables, values)

    def _parameters(self) -> dict[str, dict[str, torch.Tensor]]:
        """All parameters by the table of the state that they are in; the rows of a table are those of each."""
        model = self._model
        columns = {"encoder": model.encoder, "decoder": model.decoder, "output_bias": model.output_bias}
        if self._settings.tied:
            del columns["decoder"]
        layers = {f"layer_{number}": layer._asdict() for number, layer in enumerate(model.layers, 1)}
        return {"columns": columns, "hidden": {"bias": model.hidden_bias}, **layers}

    def _saved_sums(self) -> list[list[float]]:
        """Each rank's errors of the epoch so far; between epochs one row, the same on any number of ranks."""
        if self._step == 0:
            return [self._zero_sums().tolist()]
        return self._collectives.gather_json(self._sums.tolist())

    def _own_columns(self, tensors: dict[str, torch.Tensor]) -> TableRows:
        num_columns = self._dataset.num_rows(self._columns)
        if self._shares.is_sharded:
            own = {name: tensor.detach() for name, tensor in tensors.items()}
            return TableRows(self._shares.columns[0], num_columns, own)
        return self._own_rows(tensors)

    def _own_rows(self, tensors: dict[str, torch.Tensor]) -> TableRows:
        """An even range of the rows of replicated tensors."""
        world, num_rows = self._collectives.world, len(next(iter(tensors.values())))
        start, stop = world.rank * num_rows // world.size, (world.rank + 1) * num_rows // world.size
        return TableRows(start, num_rows, {name: tensor.detach()[start:stop] for name, tensor in tensors.items()})

    @torch.no_grad()
    def load_state(self, reader: StateReader) -> None:
        """Continue from a state written by any number of ranks; exactly, where their number is the same."""
        values = reader.values
        if "optimizer" not in values:
            raise CheckpointError(
                "the checkpoint is of a version that kept the optimizer in another form; train anew in another "
                "run_dir, or go on with that version"
            )
        self._optimizer.restore(cast("Mapping[str, Any]", values["optimizer"]))
        for name, parameters in self._parameters().items():
            rows = self._shares.columns if name == "columns" else (0, len(next(iter(parameters.values()))))
            _copy(reader.read_rows(name, *rows), parameters)
            moments = self._optimizer.moments_of(parameters)
            if moments:
                _copy(reader.read_rows(f"optimizer_{name}", *rows), moments)
        self._load_place(values)

    def _load_place(self, values: Any) -> None:
        self.epochs_done, self._step = int(values["epoch"]), int(values["step"])
        saved = torch.tensor(values["sums"], dtype=torch.float64, device=self._collectives.world.device)
        world = self._collectives.world
        if len(saved) == world.size:
            self._sums = saved[world.rank]
        else:
            self._sums = saved.sum(0) * int(world.is_first)

    def _result(self, received: int, finished: bool) -> EpochResult:
        """Errors over all ranks; raises where they are not finite, on every rank alike."""
        train = _error_sums(self._collectives.sum_(self._sums.clone()))
        if not math.isfinite(train.squared):
            raise TrainingError(
                f"the error is not finite in epoch {self.epochs_done + 1}, at or before step {self._step} of "
                f"{self._loader.steps}; {self._remedy()}"
            )
        received_mb = (self._collectives.received_bytes - received) / 1e6
        rate = {"learning_rate": self._learning_rate()} if self._settings.optimizer == "adam" else {}
        return EpochResult(train, {**rate, "received_mb": received_mb}, finished)

    def _remedy(self) -> str:
        if self._settings.optimizer == "lbfgs":
            return f"raise model.regularization (now {self._settings.regularization:g})"
        return f"lower model.learning_rate (now {self._settings.learning_rate:g})"

    def _zero_sums(self) -> torch.Tensor:
        return torch.zeros(3, dtype=torch.float64, device=self._collectives.world.device)


def _error_sums(sums: torch.Tensor) -> ErrorSums:
    squared, absolute, count = sums.tolist()
    return ErrorSums(squared, absolute, int(count))


def _copy(saved: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    for name, tensor in own.items():
        tensor.copy_(saved[name])
