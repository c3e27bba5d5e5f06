"""AutoRec in training on one rank: minibatches of rows, Adam, replicated parameters.

    B rows of a batch on this rank, C columns, H hidden units, N train ratings in all, T steps of an epoch

The objective J is the sum of squared errors of all train ratings, in units of the baseline's variance, plus
lambda/2 (|V|^2 + |W|^2) + column_shrinkage |output_bias|^2. Step t minimises its batch's errors plus 1/T of the
penalty, so the steps of an epoch add up to J; all is divided by N/T, which Adam does not see. The penalty enters
the gradient as Adam's weight decay, the same on every rank, and so counts once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from recsys_dist.checkpoint.state import StateReader, TableRows, TrainerState
from recsys_dist.data.blocks import Block
from recsys_dist.data.dataset import Dataset, Side, share_shards
from recsys_dist.data.loader import RowBatch, RowLoader, held_out_blocks, row_chunks, slice_rows
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.data_parallel import replicate
from recsys_dist.errors import TrainingError
from recsys_dist.kernels.sampled import Pattern
from recsys_dist.kernels.sparse import Csr
from recsys_dist.metrics import ErrorSums
from recsys_dist.models.autorec import Autorec, Baseline, Batch, OutputLink
from recsys_dist.training.baseline import fit_biases
from recsys_dist.training.config import AutorecSettings
from recsys_dist.training.trainer import EpochResult

WARM_UP = 0.1
CHUNK_ROWS = 4096
CHUNK_RATINGS = 1 << 19
MOMENTS = ("exp_avg", "exp_avg_sq")
COLUMN_PARAMETERS = ("encoder", "decoder", "output_bias")
OUTPUT_BIAS = 1
"""Its place among the optimizer's groups."""


class AutorecTrainer:
    """Trains an item- or user-AutoRec; every method is entered by all ranks together."""

    def __init__(
        self, dataset: Dataset, settings: AutorecSettings, epochs: int, seed: int, collectives: Collectives
    ) -> None:
        self.epochs_done = 0
        self._dataset, self._settings, self._collectives = dataset, settings, collectives
        self._rows: Side = settings.orientation
        self._columns: Side = "users" if self._rows == "items" else "items"
        shards = dataset.shards(self._rows)
        self._share = share_shards(shards, collectives.world.size)[collectives.world.rank]
        self._loader = collectives.together(
            "reading the train ratings",
            lambda: RowLoader(dataset, self._rows, self._share, settings.batch_size, seed),
        )
        self._total_steps = epochs * self._loader.steps
        self._build(seed)
        self._step = 0
        self._sums = self._zero_sums()
        """Squared errors, absolute errors and count of this rank's part of the epoch so far: float64 [3]."""
        self._valid_blocks: list[Block] | None = None

    def _build(self, seed: int) -> None:
        """Parameters equal on every rank, and their optimizer."""
        manifest, settings = self._dataset.manifest, self._settings
        biases = fit_biases(
            self._loader.blocks, self._dataset.num_rows(self._columns), manifest.rating.mean, self._collectives
        )
        self._column_shrinkage = biases.column_shrinkage
        baseline = Baseline.of(biases, self._collectives.world.device)
        generator = torch.Generator("cpu").manual_seed(seed)
        output = OutputLink(settings.output_activation, manifest.rating.min, manifest.rating.max, baseline.mean)
        self._model = Autorec(baseline, settings.hidden, settings.hidden_activation, output, generator)
        self._replica = replicate(self._model, self._collectives)
        self._optimizer = self._new_optimizer(manifest.num_ratings["train"])

    def _new_optimizer(self, num_ratings: int) -> torch.optim.Adam:
        model = self._model
        groups: list[dict[str, Any]] = [
            # d/dV lambda/2 |V|^2 = lambda V, and a step's loss is divided by N/T
            {
                "params": [model.encoder, model.decoder],
                "weight_decay": self._settings.regularization / num_ratings,
            },
            {"params": [model.output_bias], "weight_decay": self._output_bias_decay()},
            {"params": [model.hidden_bias], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.Adam(groups, lr=self._settings.learning_rate, fused=True)
        for parameter in model.parameters():
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                **{moment: torch.zeros_like(parameter) for moment in MOMENTS},
            }
        return optimizer

    def _output_bias_decay(self) -> float:
        return 2 * self._column_shrinkage / self._dataset.manifest.num_ratings["train"]

    @property
    def has_converged(self) -> bool:
        """Never: the learning rate falls until the last epoch."""
        return False

    @property
    def is_searching(self) -> bool:
        """Never: nothing is tried out."""
        return False

    def train_epoch(self, should_stop: Callable[[], bool]) -> EpochResult:
        """Run the steps of an epoch that are left; asks `should_stop` before each."""
        while self._step < self._loader.steps:
            if should_stop():
                return self._result(finished=False)
            self._train_step()
        result = self._result(finished=True)
        self.epochs_done += 1
        self._step = 0
        self._sums = self._zero_sums()
        return result

    def _train_step(self) -> None:
        batch = self._batch(self._loader.batch(self.epochs_done, self._step))
        learning_rate = self._learning_rate()
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        error_N = self._replica(batch) - batch.rating_N
        # The average over ranks of world x local sum is the sum over the global batch; N/T is its mean length.
        mean_length = self._dataset.manifest.num_ratings["train"] / self._loader.steps
        weight = self._collectives.world.size / (mean_length * self._model.baseline.scale**2)
        (error_N.square().sum() * weight).backward()
        self._optimizer.step()
        error_N = error_N.detach().double()
        self._sums[0] += error_N.square().sum()
        self._sums[1] += error_N.abs().sum()
        self._sums[2] += len(error_N)
        self._step += 1

    def _learning_rate(self) -> float:
        """A straight rise over the first WARM_UP of all steps, times half a cosine to 0 over all of them."""
        done = (self.epochs_done * self._loader.steps + self._step + 1) / (self._total_steps + 1)
        rise = min(1.0, done / WARM_UP)
        return self._settings.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    def _batch(self, rows: RowBatch) -> Batch:
        num_columns, device = self._dataset.num_rows(self._columns), self._collectives.world.device
        csr = self._csr(rows)
        pattern = Pattern.from_numpy(rows.indptr, rows.indices, num_columns, device)
        return Batch.of_rows(csr, pattern, self._model.baseline)

    def _csr(self, rows: RowBatch) -> Csr:
        num_columns, device = self._dataset.num_rows(self._columns), self._collectives.world.device
        return Csr.from_numpy(rows.indptr, rows.indices, rows.values, num_columns, device)

    def validate(self) -> ErrorSums:
        """Errors over the valid split; each rank predicts the pairs of its own rows, block after block."""
        if self._valid_blocks is None:
            self._valid_blocks = self._collectives.together(
                "reading the valid ratings",
                lambda: held_out_blocks(self._dataset, "valid", self._rows, self._share),
            )
        sums = ErrorSums()
        for block, pairs in zip(self._loader.blocks, self._valid_blocks, strict=True):
            for start, stop in row_chunks(block, CHUNK_ROWS, CHUNK_RATINGS):
                sums += self._chunk_errors(slice_rows(block, start, stop), slice_rows(pairs, start, stop))
        local = torch.tensor(
            [sums.squared, sums.absolute, sums.count],
            dtype=torch.float64,
            device=self._collectives.world.device,
        )
        return _error_sums(self._collectives.sum_(local))

    def _chunk_errors(self, rows: RowBatch, pairs: RowBatch) -> ErrorSums:
        if len(pairs.values) == 0:
            return ErrorSums()
        wanted = self._csr(pairs)
        predicted_N = self._model.predict(self._csr(rows), wanted.indptr, wanted.indices)
        return ErrorSums.of(predicted_N.cpu().numpy(), pairs.values)

    def state(self) -> TrainerState:
        """An even range of the rows of each replicated table, and the place in the epoch."""
        model, columns, hidden = self._model, len(self._model.decoder), len(self._model.hidden_bias)
        by_columns = {name: getattr(model, name) for name in COLUMN_PARAMETERS}
        tables = {
            "columns": self._own_rows(columns, {**by_columns, "column_bias": model.baseline.column_bias_C}),
            "hidden": self._own_rows(hidden, {"bias": model.hidden_bias}),
            "optimizer_columns": self._own_rows(columns, self._moments(by_columns)),
            "optimizer_hidden": self._own_rows(hidden, self._moments({"bias": model.hidden_bias})),
        }
        values: dict[str, Any] = {
            "epoch": self.epochs_done,
            "step": self._step,
            "sums": self._saved_sums(),
            "optimizer_step": int(self._optimizer.state[model.decoder]["step"].item()),
            "mean": model.baseline.mean,
            "scale": model.baseline.scale,
            "row_shrinkage": model.baseline.row_shrinkage,
            "column_shrinkage": self._column_shrinkage,
        }
        return TrainerState(tables, values)

    def _saved_sums(self) -> list[list[float]]:
        """Each rank's errors of the epoch so far; between epochs one row, the same on any number of ranks."""
        if self._step == 0:
            return [self._zero_sums().tolist()]
        return self._collectives.gather_json(self._sums.tolist())

    def _own_rows(self, num_rows: int, tensors: dict[str, torch.Tensor]) -> TableRows:
        world = self._collectives.world
        start, stop = world.rank * num_rows // world.size, (world.rank + 1) * num_rows // world.size
        return TableRows(start, num_rows, {name: tensor.detach()[start:stop] for name, tensor in tensors.items()})

    def _moments(self, parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Adam's moments of each parameter, named after it."""
        return {
            f"{name}_{moment}": self._optimizer.state[parameter][moment]
            for name, parameter in parameters.items()
            for moment in MOMENTS
        }

    @torch.no_grad()
    def load_state(self, reader: StateReader) -> None:
        """Continue from a state written by any number of ranks; exactly, where their number is the same."""
        model, values = self._model, reader.values
        by_columns = {name: getattr(model, name) for name in COLUMN_PARAMETERS}
        columns = reader.read_rows("columns", 0, len(model.decoder))
        bias = reader.read_rows("hidden", 0, len(model.hidden_bias))
        _copy(columns, {**by_columns, "column_bias": model.baseline.column_bias_C})
        _copy(bias, {"bias": model.hidden_bias})
        _copy(reader.read_rows("optimizer_columns", 0, len(model.decoder)), self._moments(by_columns))
        moments = reader.read_rows("optimizer_hidden", 0, len(model.hidden_bias))
        _copy(moments, self._moments({"bias": model.hidden_bias}))
        for state in self._optimizer.state.values():
            state["step"].fill_(values["optimizer_step"])
        self._load_place(values)

    def _load_place(self, values: Any) -> None:
        model, shrinkage = self._model, values["row_shrinkage"]
        model.baseline = Baseline(values["mean"], model.baseline.column_bias_C, values["scale"], shrinkage)
        model.output = replace(model.output, mean=values["mean"])
        self._column_shrinkage = values["column_shrinkage"]
        self._optimizer.param_groups[OUTPUT_BIAS]["weight_decay"] = self._output_bias_decay()
        self.epochs_done, self._step = int(values["epoch"]), int(values["step"])
        saved = torch.tensor(values["sums"], dtype=torch.float64, device=self._collectives.world.device)
        world = self._collectives.world
        if len(saved) == world.size:
            self._sums = saved[world.rank]
        else:
            self._sums = saved.sum(0) * int(world.is_first)

    def _result(self, finished: bool) -> EpochResult:
        """Errors over all ranks; raises where they are not finite, on every rank alike."""
        train = _error_sums(self._collectives.sum_(self._sums.clone()))
        if not math.isfinite(train.squared):
            raise TrainingError(
                f"the error is not finite in epoch {self.epochs_done + 1}, at or before step {self._step} of "
                f"{self._loader.steps}; lower model.learning_rate (now {self._settings.learning_rate:g})"
            )
        return EpochResult(train, {"learning_rate": self._learning_rate()}, finished)

    def _zero_sums(self) -> torch.Tensor:
        return torch.zeros(3, dtype=torch.float64, device=self._collectives.world.device)


def _error_sums(sums: torch.Tensor) -> ErrorSums:
    squared, absolute, count = sums.tolist()
    return ErrorSums(squared, absolute, int(count))


def _copy(saved: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> None:
    for name, tensor in own.items():
        tensor.copy_(saved[name])
