"""A new run that begins with what another has learnt, on its dataset or on one that has grown from it.

In: the best checkpoint of the other run. Out: a state to load in which the search for the form of the model is
over and no epoch is done. Users and items that were not there yet stand at the priors learnt by a matrix
factorization, and in an AutoRec where training begins anyhow.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from pydantic import JsonValue

from recsys_dist.checkpoint.checkpoint import Checkpoint, find_checkpoint
from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.search import AutorecSearch
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.search import Search
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.early_stopping import EarlyStopping

FREE: dict[str, set[str]] = {
    "mf": {"tolerance"},
    "autorec": {
        "optimizer",
        "learning_rate",
        "accumulation",
        "parallel",
        "compute",
        "gradient_clip",
        "batch_size",
    },
}
"""Settings of how a model is trained, not of what it is: need not be those of the run that is gone on from."""


@dataclass(frozen=True)
class WarmStart(ABC):
    """A `StateReader` for the users and items of a dataset that may have grown."""

    checkpoint: Checkpoint

    @property
    def details(self) -> Mapping[str, JsonValue]:
        """What is noted of the new run, in which nothing has happened yet."""
        return {"early_stopping": EarlyStopping().to_json()}

    @property
    @abstractmethod
    def values(self) -> Mapping[str, JsonValue]:
        """Those of a run that begins."""

    @abstractmethod
    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint, where it has them."""

    def _known(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        num_known = self.checkpoint.tables[table].num_rows
        return self.checkpoint.read_rows(table, min(start, num_known), min(stop, num_known))


@dataclass(frozen=True)
class FactorStart(WarmStart):
    """Of matrix factorization."""

    is_point: bool
    """Whether the posterior has no covariances."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """Priors and noise of the checkpoint. Sums over users are left out: they are solved anew."""
        values = self.checkpoint.values
        search = Search.from_json(values["search"]).polish()
        return {**values, "epoch": 0, "search": search.to_json(), "user_sums": None}

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint, and prior ones behind them."""
        num_new = max(0, stop - max(start, self.checkpoint.tables[table].num_rows))
        known = self._known(table, start, stop)
        return {name: torch.cat([rows, self._new(table, name, rows, num_new)]) for name, rows in known.items()}

    def _new(self, table: str, name: str, like: torch.Tensor, num_new: int) -> torch.Tensor:
        """So many rows of one column for what nothing is known of."""
        values: Any = self.checkpoint.values
        side = table.removesuffix("s")
        covariance = torch.tensor(values[f"{side}_prior_covariance"], dtype=torch.float64, device="cpu")
        if self.is_point:
            covariance = torch.zeros_like(covariance)
        triangle = torch.triu_indices(*covariance.shape, device="cpu")
        row = {
            "mean": torch.tensor(values[f"{side}_prior_mean"], dtype=torch.float64, device="cpu"),
            # As on disk: the upper triangle row by row.
            "covariance": covariance[triangle[0], triangle[1]],
            "variance": covariance.diagonal(),
            "precision": torch.ones((), device="cpu"),
            "pattern": torch.zeros(like.shape[1:], device="cpu"),
        }[name]
        return row.to(like.dtype).expand(num_new, *like.shape[1:])


@dataclass(frozen=True)
class AutorecStart(WarmStart):
    """Of an AutoRec: parameters, and settings that were found out; its optimizer remembers nothing."""

    @property
    def values(self) -> Mapping[str, JsonValue]:
        """No sums, no steps, and the search over with what is best so far."""
        values, saved = self.checkpoint.values, self.checkpoint.values.get("search")
        search = None if saved is None else AutorecSearch.from_json(saved).finish().to_json()
        return {**values, "epoch": 0, "step": 0, "sums": [[0.0, 0.0, 0.0]], "optimizer": None, "search": search}

    def read_rows(self, table: str, start: int, stop: int) -> dict[str, torch.Tensor]:
        """Rows of the checkpoint alone, so perhaps fewer than asked for: the others stay as they are."""
        return self._known(table, start, stop)


def warm_start(config: TrainConfig, dataset: Dataset) -> WarmStart | None:
    """The state that `config.start_from` names; None where it names none.

    Raises `ConfigError` where that run has another model, or learnt from what `dataset` holds out.
    """
    if config.start_from is None:
        return None
    checkpoint = find_checkpoint(Folder(config.start_from))
    saved = parse_settings(TrainConfig, checkpoint.config, source=f"the configuration of {config.start_from}")
    trees = [one.model.model_dump(mode="json") for one in (saved, config)]
    keys = (saved.model.model_fields_set | config.model.model_fields_set) - FREE[config.model.kind]
    for key in sorted(keys, key=lambda key: (key != "kind", key)):
        old, new = (json.dumps(tree.get(key)) for tree in trees)
        if old != new:
            raise ConfigError(
                f"start_from: model.{key} is {new}, but {config.start_from} was trained with {old}; use that "
                "value, or train without start_from"
            )
    _require_ancestor(checkpoint, config, dataset)
    match config.model:
        case MfSettings() as settings:
            return FactorStart(checkpoint, settings.posterior == "point")
        case AutorecSettings():
            return AutorecStart(checkpoint)
        case _ as unknown:
            assert_never(unknown)


def _require_ancestor(checkpoint: Checkpoint, config: TrainConfig, dataset: Dataset) -> None:
    digest = checkpoint.details.get("dataset_digest")
    if digest == dataset.digest:
        return
    ancestor = next((one for one in dataset.manifest.grown_from if one.digest == digest), None)
    if ancestor is None:
        raise ConfigError(
            f"start_from: {config.start_from} was trained on a dataset that {config.dataset} has not grown from; "
            "train anew, or add to that dataset by prepare --append"
        )
    if ancestor.num_held_out:
        raise ConfigError(
            f"start_from: {ancestor.num_held_out:,} ratings that {config.start_from} was trained on are for "
            f"validation or testing in {config.dataset}; train anew"
        )
