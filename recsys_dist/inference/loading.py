"""Load a model folder onto a device, with the scorer of its family."""

from __future__ import annotations

import torch

from recsys_dist.errors import ConfigError
from recsys_dist.inference.catalog import Catalog
from recsys_dist.inference.predictor import Predictor
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.protocols.registry import known_family


def load_predictor(path: str, device: str = "cpu", verify: bool = False) -> Predictor:
    """Load the model folder at `path`, a plain folder or a URL, onto `device` (cpu, cuda, cuda:N).

    With `verify` the hash of every file is checked first, otherwise only those of ids and titles. Raises
    `CheckpointError` if the folder is not a model or is damaged, `ConfigError` if its family is unknown.
    """
    folder, there = ModelFolder.open(str(path), verify), _device(device)
    family = known_family(folder.manifest.kind, of=folder.folder.url)
    return Predictor(Catalog(folder), family.scorer(folder, there), there)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        is_usable = device.type in {"cpu", "cuda"}
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):
        is_usable = False
    if not is_usable:
        raise ConfigError(f"device {name!r} is not available; use cpu, cuda or cuda:N")
    return device
