"""Parameters and Adam moments of a neural model on one rank, as tables of a saved state.

    users, items        the tables of the module, by name; a row for each user or item
    rest, buffers       all other parameters and buffers, as one vector each: `value`, a row for each number

`optimizer_users` and so on hold the moments: columns named after the parameters, with `.mean` and `.square`
appended.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from recsys_dist.checkpoint.state import StateReader, TableRows
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.distributed.world import World
from recsys_dist.families.neural.parallel import ParallelModule

MOMENTS = {"mean": "exp_avg", "square": "exp_avg_sq"}
"""torch's names of the moments."""


class StateTables:
    """Saves the parameters of a module, and loads them from a state of any number of ranks."""

    def __init__(
        self, model: ParallelModule, optimizer: torch.optim.Optimizer, dataset: Dataset, world: World
    ) -> None:
        self._model, self._optimizer, self._dataset, self._world = model, optimizer, dataset, world

    @property
    def num_steps(self) -> int:
        """Steps of the optimizer so far."""
        states = [self._optimizer.state[parameter] for parameter in self._model.parameters.values()]
        return max((int(state["step"]) for state in states if state), default=0)

    def to_save(self) -> dict[str, TableRows]:
        """This rank's part of each table."""
        model, tables = self._model, dict[str, TableRows]()
        values = {name: parameter.detach() for name, parameter in model.parameters.items()}
        moments = {kind: self._moments(key) for kind, key in MOMENTS.items()}
        for side in SIDES:
            tables[side] = self._rows(side, model.rows_of(side, values))
            tables[f"optimizer_{side}"] = self._rows(side, self._named_moments(side, moments))
        if model.rest_names:
            tables["rest"] = self._even({"value": self._joined(values)})
            joined = {kind: self._joined(tensors) for kind, tensors in moments.items()}
            tables["optimizer_rest"] = self._even(joined)
        if buffers := self._buffers():
            tables["buffers"] = self._even(
                {"value": torch.cat([one.double().flatten() for one in buffers.values()])}
            )
        return tables

    @torch.no_grad()
    def load(self, reader: StateReader, num_steps: int) -> None:
        """Load this rank's rows, the other parameters, and the optimizer's moments after `num_steps` steps."""
        values = {name: parameter.detach() for name, parameter in self._model.parameters.items()}
        moments = {kind: {name: torch.zeros_like(value) for name, value in values.items()} for kind in MOMENTS}
        for side in SIDES:
            rows = self._model.ranges[side]
            _copy(reader.read_rows(side, *rows), self._model.rows_of(side, values))
            _copy(reader.read_rows(f"optimizer_{side}", *rows), self._named_moments(side, moments))
        if self._model.rest_names:
            size = sum(values[name].numel() for name in self._model.rest_names)
            _split_into(reader.read_rows("rest", 0, size)["value"], self._rest(values))
            saved = reader.read_rows("optimizer_rest", 0, size)
            for kind, tensors in moments.items():
                _split_into(saved[kind], self._rest(tensors))
        if buffers := self._buffers():
            size = sum(one.numel() for one in buffers.values())
            _split_into(reader.read_rows("buffers", 0, size)["value"], list(buffers.values()))
        for name, parameter in self._model.parameters.items():
            kept = {key: moments[kind][name] for kind, key in MOMENTS.items()}
            step = torch.tensor(float(num_steps), dtype=torch.float32, device="cpu")
            self._optimizer.state[parameter] = {"step": step, **kept}

    def _moments(self, key: str) -> dict[str, torch.Tensor]:
        """Moments by parameter name; zeros before the first step."""
        return {
            name: self._optimizer.state[parameter].get(key, torch.zeros_like(parameter))
            for name, parameter in self._model.parameters.items()
        }

    def _named_moments(
        self, side: Side, moments: Mapping[str, Mapping[str, torch.Tensor]]
    ) -> dict[str, torch.Tensor]:
        return {
            f"{name}.{kind}": rows
            for kind, tensors in moments.items()
            for name, rows in self._model.rows_of(side, tensors).items()
        }

    def _rest(self, tensors: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
        return [tensors[name] for name in self._model.rest_names]

    def _joined(self, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.flatten() for tensor in self._rest(tensors)])

    def _buffers(self) -> dict[str, torch.Tensor]:
        """Buffers without the empty placeholders of tables."""
        return {name: buffer for name, buffer in self._model.module.named_buffers() if buffer.numel()}

    def _rows(self, side: Side, rows: Mapping[str, torch.Tensor]) -> TableRows:
        if not self._model.is_split:
            return self._even(rows)
        return TableRows(self._model.ranges[side][0], self._dataset.num_rows(side), dict(rows))

    def _even(self, tensors: Mapping[str, torch.Tensor]) -> TableRows:
        """This rank's even range of replicated rows."""
        world, num_rows = self._world, len(next(iter(tensors.values())))
        start, stop = world.rank * num_rows // world.size, (world.rank + 1) * num_rows // world.size
        return TableRows(start, num_rows, {name: tensor[start:stop] for name, tensor in tensors.items()})


def _copy(saved: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
    for name, tensor in own.items():
        tensor.copy_(saved[name])


def _split_into(saved_P: torch.Tensor, own: list[torch.Tensor]) -> None:
    for piece, tensor in zip(saved_P.split([tensor.numel() for tensor in own]), own, strict=True):
        tensor.copy_(piece.view_as(tensor))
