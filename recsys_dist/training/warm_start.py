"""Warm start of a new run from another run, on its dataset or on one that has grown from it.

In: the best checkpoint of the other run. Out: a state to load, with no epochs done and the tuning of settings
over. The family decides about the initial values of new users and items.
"""

from __future__ import annotations

import json

from recsys_dist.checkpoint.checkpoint import Checkpoint, find_checkpoint
from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.errors import ConfigError
from recsys_dist.protocols.warm_start import WarmStart
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig


def warm_start(config: TrainConfig, dataset: Dataset) -> WarmStart | None:
    """The initial state from `config.start_from`; None without it.

    Raises `ConfigError` if that run has another model, or was trained on ratings that `dataset` holds out.
    """
    if config.start_from is None:
        return None
    checkpoint = find_checkpoint(Folder(config.start_from))
    saved = parse_settings(TrainConfig, checkpoint.config, source=f"the configuration of {config.start_from}")
    models = (saved.model, config.family.as_trained(saved.model, checkpoint), config.model)
    trees = [one.model_dump(mode="json") for one in models]
    keys = (saved.model.model_fields_set | config.model.model_fields_set) - config.family.training_only
    for key in sorted(keys, key=lambda key: (key != "kind", key)):
        old, trained, new = (json.dumps(tree.get(key)) for tree in trees)
        if new not in {old, trained}:
            raise ConfigError(
                f"start_from: model.{key} is {new}, but {config.start_from} was trained with {trained}; use that "
                "value, or train without start_from"
            )
    _require_ancestor(checkpoint, config, dataset)
    return config.family.warm_start(checkpoint, config.model)


def _require_ancestor(checkpoint: Checkpoint, config: TrainConfig, dataset: Dataset) -> None:
    digest = checkpoint.details.get("dataset_digest")
    if digest == dataset.digest:
        return
    ancestor = next((one for one in dataset.manifest.grown_from if one.digest == digest), None)
    if ancestor is None:
        raise ConfigError(
            f"start_from: {config.start_from} was trained on a dataset that {config.dataset} has not grown from; "
            "train from scratch, or extend that dataset by prepare --append"
        )
    if ancestor.num_held_out:
        raise ConfigError(
            f"start_from: {ancestor.num_held_out:,} ratings that {config.start_from} was trained on are held out "
            f"for validation or testing in {config.dataset}; train from scratch"
        )
