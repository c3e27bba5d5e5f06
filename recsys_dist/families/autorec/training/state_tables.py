"""Parameters of an AutoRec on one rank, and companion tensors of each parameter, as tables of a saved state.

    columns            encoder, decoder, output bias and column bias: a row for each column
    hidden, layer_1 .. the layers between, replicated on every rank

Companions, such as optimizer moments, are in tables named after both. A rank saves its own columns, and an even
range of the rows of each replicated table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from recsys_dist.checkpoint.state import StateReader, TableRows
from recsys_dist.distributed.world import World
from recsys_dist.families.autorec.network.network import Autorec
from recsys_dist.families.autorec.training.shares import Shares

COLUMNS = "columns"
OPTIMIZER = "optimizer"
"""Table prefix of the optimizer state."""

Tensors = Mapping[str, torch.Tensor]
KeptBeside = Callable[[Tensors], dict[str, torch.Tensor]]
"""Returns the companions of some parameters: writable views in their shape, or none."""


class AutorecTables:
    """Saves the parameters of a model, and loads them from a state of any number of ranks."""

    def __init__(self, model: Autorec, is_tied: bool, shares: Shares, num_columns: int, world: World) -> None:
        """`num_columns` counts the columns of all ranks."""
        self._model, self._is_tied, self._shares = model, is_tied, shares
        self._num_columns, self._world = num_columns, world

    def to_save(self, beside: Mapping[str, KeptBeside]) -> dict[str, TableRows]:
        """This rank's part of each table."""
        tables = {}
        for name, parameters in self._parameters().items():
            also = {"column_bias": self._model.baseline.column_bias_C} if name == COLUMNS else {}
            tables[name] = self._own(name, {**parameters, **also})
            for what, kept_beside in beside.items():
                if kept := kept_beside(parameters):
                    tables[f"{what}_{name}"] = self._own(name, kept)
        return tables

    @torch.no_grad()
    def load(self, reader: StateReader, beside: Mapping[str, KeptBeside]) -> None:
        """Load this rank's parameters and their companions; the state may lack the last columns."""
        for name, parameters in self._parameters().items():
            rows = self._shares.columns if name == COLUMNS else (0, len(next(iter(parameters.values()))))
            _copy(reader.read_rows(name, *rows), parameters)
            for what, kept_beside in beside.items():
                if kept := kept_beside(parameters):
                    _copy(reader.read_rows(f"{what}_{name}", *rows), kept)

    def _parameters(self) -> dict[str, dict[str, torch.Tensor]]:
        """All parameters by table; the parameters of a table have the same number of rows."""
        model = self._model
        columns = {"encoder": model.encoder, "decoder": model.decoder, "output_bias": model.output_bias}
        if self._is_tied:
            del columns["decoder"]
        layers = {f"layer_{number}": layer._asdict() for number, layer in enumerate(model.layers, 1)}
        return {COLUMNS: columns, "hidden": {"bias": model.hidden_bias}, **layers}

    def _own(self, name: str, tensors: Tensors) -> TableRows:
        if name == COLUMNS and self._shares.is_sharded:
            own = {key: tensor.detach() for key, tensor in tensors.items()}
            return TableRows(self._shares.columns[0], self._num_columns, own)
        world, num_rows = self._world, len(next(iter(tensors.values())))
        start, stop = world.rank * num_rows // world.size, (world.rank + 1) * num_rows // world.size
        return TableRows(start, num_rows, {key: tensor.detach()[start:stop] for key, tensor in tensors.items()})


def _copy(saved: Tensors, own: Tensors) -> None:
    for name, tensor in own.items():
        tensor[: len(saved[name])].copy_(saved[name])
