"""Training from Python: a dataset and the settings of a model in, the merged model out."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from recsys_dist.api.model import Model, load_model
from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.config import parse_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.errors import ConfigError
from recsys_dist.merging import merge
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.manifest import MODEL_FILE
from recsys_dist.protocols.family import ModelFamily, ModelSettings
from recsys_dist.protocols.registry import add, family_of
from recsys_dist.shipped_configs import find_config
from recsys_dist.storage.folder import Folder
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.local_training import train_on_local_ranks
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run import train as train_run

MODEL = "model"
"""The default model folder, below RUN_DIR."""


def train(
    dataset: Dataset | str | os.PathLike[str],
    model: ModelSettings,
    run_dir: str | os.PathLike[str],
    *,
    epochs: int | None = None,
    patience: int | None = None,
    seed: int | None = None,
    ranks: int | None = None,
    device: str = "auto",
    start_from: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    family: ModelFamily[Any] | None = None,
    model_dir: str | os.PathLike[str] | None = None,
) -> Model:
    """Train a model, or continue the run in `run_dir`, and return the merged model.

    Does the same as `recsys-dist train` and `recsys-dist merge`. Settings that `model` and the other arguments
    leave open come from the shipped configuration of this kind of model. `settings` are further configuration
    keys, such as `{"training": {"memory_limit": "4GiB"}, "checkpoint": {"every": 5}}`; `family` is the family of a
    model of your own. The model is written to `model_dir`, by default RUN_DIR/model, and replaces one from another
    checkpoint.

    `ranks` is the number of processes to start on this machine, on the CPU. Under torchrun or srun this process is
    one of the running ranks, and every rank returns the model. On Ctrl-C or SIGTERM the state is saved and
    `KeyboardInterrupt` raised; the same call continues. Raises a one-line `RecsysDistError`.
    """
    given = {
        "dataset": dataset.folder.url if isinstance(dataset, Dataset) else os.fspath(dataset),
        "run_dir": os.fspath(run_dir),
        "start_from": None if start_from is None else os.fspath(start_from),
        "seed": seed,
        "device": device,
        "training": {"epochs": epochs, "patience": patience},
    }
    config = new_config("train", model, family, given, settings or {})
    target = Folder(os.fspath(model_dir) if model_dir is not None else f"{config.run_dir.rstrip('/')}/{MODEL}")
    if _starts_ranks(ranks):
        assert ranks is not None
        outcome = train_on_local_ranks(_on_cpu(config), ranks)
        _write_model(config, target, outcome)
    else:
        train_run(config, finish=lambda outcome, together: _write_together(config, target, outcome, together))
    return load_model(target.url, device=_device_of(config))


def new_config(
    function: str,
    model: ModelSettings,
    family: ModelFamily[Any] | None,
    given: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> TrainConfig:
    """The configuration of a training, for a public function of that name.

    The shipped configuration of this kind of model, then `given` except what is None, then `settings`. Registers
    `family`. Raises `ConfigError`.
    """
    if family is not None:
        add(family)
    tree = _merged(_tree(family_of(model), model), _without_none(given))
    return parse_settings(TrainConfig, _merged(tree, settings), source=function)


def _without_none(tree: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in tree.items() if value is not None}
    return {key: _without_none(value) if isinstance(value, Mapping) else value for key, value in known.items()}


def _tree(family: ModelFamily[Any], model: ModelSettings) -> dict[str, Any]:
    """The shipped configuration of this kind of model, updated with the settings that were given."""
    name = family.shipped_configuration(model)
    tree: dict[str, Any] = (
        {} if name is None else yaml.safe_load(Path(find_config(name)).read_text(encoding="utf-8"))
    )
    tree["model"] = {
        **tree.get("model", {}),
        **model.model_dump(mode="json", exclude_unset=True),
        "kind": family.name,
    }
    return tree


def _merged(tree: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(tree)
    for key, value in more.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            merged[key] = _merged(below, value)
        else:
            merged[key] = value
    return merged


def _starts_ranks(ranks: int | None) -> bool:
    """Whether this call starts ranks. Raises `ConfigError` if a launcher has started another number."""
    if ranks is not None and (isinstance(ranks, bool) or not isinstance(ranks, int) or ranks < 1):
        raise ConfigError(f"ranks: {ranks!r} is not a whole number, 1 or more")
    size = os.environ.get("WORLD_SIZE")
    if size is not None:
        if ranks is not None and str(ranks) != size:
            raise ConfigError(
                f"ranks: {ranks}, but this process is one of {size} ranks that a launcher has started"
            )
        return False
    return ranks is not None and ranks > 1


def _on_cpu(config: TrainConfig) -> TrainConfig:
    if config.device not in {"auto", "cpu"}:
        raise ConfigError(
            f"device: {config.device!r} does not go with ranks, which run on the CPU; use torchrun for GPUs"
        )
    return config.model_copy(update={"device": "cpu"})


def _device_of(config: TrainConfig) -> str:
    return "cpu" if config.device == "auto" else config.device


def _write_together(config: TrainConfig, target: Folder, outcome: Outcome, collectives: Collectives) -> None:
    """The first rank writes, the others wait."""

    def write() -> None:
        if collectives.world.is_first:
            _write_model(config, target, outcome)

    if outcome is Outcome.PREEMPTED:
        _write_model(config, target, outcome)
    collectives.together("merging", write)


def _write_model(config: TrainConfig, target: Folder, outcome: Outcome) -> None:
    if outcome is Outcome.PREEMPTED:
        raise KeyboardInterrupt(f"stopped: {config.run_dir} is saved; repeat the call to continue")
    if target.exists(MODEL_FILE):
        checkpoint, manifest = find_checkpoint(Folder(config.run_dir)), ModelFolder.open(target.url).manifest
        if (manifest.step, manifest.config) == (checkpoint.step, checkpoint.config):
            return
        target.remove()
    merge(config.run_dir, target.url)
