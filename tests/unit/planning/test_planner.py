"""Plans: they agree with what training refuses, and their advice works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.planning.planner import make_plan
from recsys_dist.process.peak_memory import resident_bytes
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.run import run_training
from tests.families.cases import MODELS, know_example
from tests.support.prepared import small_dataset
from tests.support.states import single_collectives

OWN = [name for name in MODELS if name != "neumf"]
MIB = 2**20


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("planned") / "data")


def config_of(dataset: Dataset, model: dict[str, Any], **training: Any) -> TrainConfig:
    tree = {"dataset": dataset.folder.url, "run_dir": "unused", "device": "cpu", "model": model}
    return TrainConfig.model_validate({**tree, "training": {"epochs": 2, **training}})


def process_bytes() -> int:
    known = resident_bytes()
    assert known is not None
    return known


AUTOREC = MODELS["autorec-items"]
FORMS = {
    **{name: MODELS[name] for name in OWN},
    # The plan is of the widest form.
    **{name: {**MODELS[name], "constrained": "both", "noise": "both"} for name in ("mf-full", "mf-diagonal")},
    "rprop": {**AUTOREC, "optimizer": "rprop"},
    "rowwise": {**AUTOREC, "optimizer": "rowwise_rmsprop"},
    "layers": {**AUTOREC, "hidden": [20, 30, 20]},
    "tied": {**AUTOREC, "hidden": [20, 30, 20], "tied": True},
}


@pytest.mark.parametrize("model", FORMS.values(), ids=FORMS)
def test_a_checkpoint_is_as_large_as_planned(dataset: Dataset, tmp_path: Path, model: dict[str, Any]) -> None:
    config = config_of(dataset, model).model_copy(update={"run_dir": str(tmp_path / "run")})
    planned = make_plan(config, measures=False).checkpoint_bytes
    run_training(config, Collectives(World.single()), lambda: False)
    saved = sorted((tmp_path / "run/checkpoints").iterdir())[-1]
    tables = sum(file.stat().st_size for file in saved.iterdir() if file.suffix == ".safetensors")
    headers = 2048 * len(list(saved.iterdir()))
    assert tables - headers <= planned <= tables


@pytest.mark.parametrize("name", OWN)
def test_more_ranks_and_more_factors(dataset: Dataset, name: str) -> None:
    config = config_of(dataset, MODELS[name])
    one, three = (make_plan(config, ranks, measures=False) for ranks in (1, 3))
    assert one.fits
    assert len(three.ranks) == 3
    assert one.ranks[0].received_bytes == 0
    assert three.checkpoint_bytes == one.checkpoint_bytes
    assert one.epoch_seconds is None


@pytest.mark.parametrize(
    ("model", "training"),
    [
        ({"kind": "mf"}, {"memory_limit": 1000}),
        ({"kind": "autorec", "hidden": 500}, {"memory_limit": "100KB"}),
        ({"kind": "ease", "method": "exact"}, {"memory_limit": "100KB"}),
    ],
)
def test_the_plan_refuses_as_training_does(
    dataset: Dataset, tmp_path: Path, model: dict[str, Any], training: dict[str, Any]
) -> None:
    config = config_of(dataset, model, **training).model_copy(update={"run_dir": str(tmp_path / "run")})
    plan = make_plan(config, measures=False)
    assert not plan.fits
    with pytest.raises(ConfigError) as refused:
        run_training(config, single_collectives(), lambda: False)
    assert str(refused.value) == plan.refusal


def test_what_does_not_fit_is_told_what_would(tmp_path: Path) -> None:
    large = small_dataset(tmp_path / "data", num_users=6000, num_items=4000, num_ratings=60_000)
    config = config_of(large, {"kind": "mf", "factors": 64})
    room = process_bytes() + 150 * MIB
    plan = make_plan(config, 1, room, measures=False)
    assert not plan.fits
    assert plan.refusal is None
    advised = {change.change.partition("=")[0]: change for change in plan.changes if change.fits}
    assert "model.factors" in advised
    factors = int(advised["model.factors"].change.partition("=")[2])
    assert factors < 64
    fewer = config_of(large, {"kind": "mf", "factors": factors})
    assert make_plan(fewer, 1, room + MIB, measures=False).fits
    more = config_of(large, {"kind": "mf", "factors": 2 * factors})
    assert not make_plan(more, 1, room, measures=False).fits


def test_the_least_that_was_tried_is_told_where_nothing_fits(dataset: Dataset) -> None:
    config = config_of(dataset, {"kind": "ials", "factors": 1024})
    plan = make_plan(config, 1, process_bytes() + MIB, measures=False)
    assert not plan.fits
    (least,) = plan.changes
    assert not least.fits
    assert least.bytes < plan.largest


def test_memory_below_an_empty_process_is_refused(dataset: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"--memory 1\.0MiB is less than Python and torch take by themselves"):
        make_plan(config_of(dataset, {"kind": "mf"}), 1, MIB, measures=False)


def test_a_dataset_that_is_not_there(tmp_path: Path) -> None:
    tree = {"dataset": str(tmp_path / "none"), "run_dir": "unused", "model": {"kind": "mf"}}
    with pytest.raises(DataError, match=r"there is no folder .*none; give a folder that"):
        make_plan(TrainConfig.model_validate(tree), measures=False)


def test_a_family_without_a_plan_says_so(dataset: Dataset) -> None:
    know_example()
    with pytest.raises(ConfigError, match="the family neumf has no plan"):
        make_plan(config_of(dataset, MODELS["neumf"]), measures=False)


def test_a_limit_cuts_what_is_kept(dataset: Dataset) -> None:
    kept, cut = (
        make_plan(config_of(dataset, {"kind": "ials", "factors": 4}, memory_limit=limit), measures=False)
        for limit in (None, 1000)
    )
    assert "interactions" in kept.ranks[0].memory
    assert "interactions" not in cut.ranks[0].memory
