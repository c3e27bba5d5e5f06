"""bfloat16 is refused, in one line and by the rank that lacks it, where a processor has none."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest
import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training import requirements
from recsys_dist.training.config import TrainConfig, TrainingSettings
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run import run_training
from tests.support.prepared import small_dataset


@pytest.mark.parametrize("has_it", [True, False])
def test_training_begins_only_where_the_processor_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_it: bool
) -> None:
    small_dataset(tmp_path / "data")
    model = AutorecSettings(kind="autorec", hidden=(6, 4), compute="bfloat16", regularization=5.0)
    paths = {"dataset": str(tmp_path / "data"), "run_dir": str(tmp_path / "run")}
    config = TrainConfig(**paths, device="cpu", model=model, training=TrainingSettings(epochs=1))
    ranks = Collectives(World.single("cpu"))
    monkeypatch.setattr(requirements, "has_bfloat16", lambda device: has_it and device.type == "cpu")
    if has_it:
        assert run_training(config, ranks, preempted=lambda: False) is Outcome.FINISHED
        return
    with pytest.raises(ConfigError, match=r"^model\.compute: the cpu of rank 0 has no bfloat16 arithmetic"):
        run_training(config, ranks, preempted=lambda: False)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(platform.machine() != "x86_64" or not Path("/proc/cpuinfo").exists(), reason="reads its flags")
def test_it_is_there_where_the_kernel_says_so() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert requirements.has_bfloat16(torch.device("cpu")) == ("avx512_bf16" in flags)
