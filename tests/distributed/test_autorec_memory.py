"""An AutoRec that does not fit its ranks is refused before the start, by all of them, with what would fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training import requirements
from recsys_dist.process import free_memory
from recsys_dist.training.config import TrainConfig, TrainingSettings
from recsys_dist.training.run import run_training
from tests.support.prepared import small_dataset
from tests.support.ranks import run_ranks

LIMIT = "100KB"
GIVEN: dict[str, Any] = {"regularization": 5.0, "input_dropout": 0.0, "implicit_input": 0.0}


def outcome(collectives: Collectives, path: Path, run_dir: Path, limit: str | None, **model: Any) -> str:
    """What training ends with, in words."""
    config = TrainConfig(
        dataset=str(path),
        run_dir=str(run_dir),
        device="cpu",
        model=AutorecSettings.model_validate({"kind": "autorec", **GIVEN, **model}),
        training=TrainingSettings(epochs=1, memory_limit=limit),
    )
    try:
        return run_training(config, collectives, preempted=lambda: False).name
    except ConfigError as refused:
        return str(refused)


def outcomes(collectives: Collectives, path: Path, run_dir: Path, parallel: str) -> tuple[str, list[str]]:
    """Of too many units, and then of as many as that named, and of one more."""
    refused = outcome(collectives, path, run_dir / "refused", LIMIT, hidden=500, parallel=parallel)
    fits = most(refused)
    ended = [
        outcome(collectives, path, run_dir / str(hidden - fits), LIMIT, hidden=hidden, parallel=parallel)
        for hidden in (fits, fits + 1)
    ]
    return refused, ended


def most(refusal: str) -> int:
    """The hidden units that it says would fit."""
    named = re.search(r"the most that fits is model\.hidden: (\d+), or use ", refusal)
    assert named is not None, refusal
    return int(named[1])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("memory") / "data"
    small_dataset(path)
    return path


@pytest.mark.parametrize(
    ("settings", "units", "remedy"),
    [
        # 3 copies of 4 (120 (2 H + 1) + H) bytes in 100 kB
        ({}, 34, "or use model.optimizer: rowwise_rmsprop, or model.parallel: sharded on more ranks"),
        # 1 copy
        ({"optimizer": "rowwise_rmsprop"}, 103, "or use model.parallel: sharded on more ranks"),
        ({"optimizer": "rowwise_rmsprop", "gradient_clip": 1.0}, 51, "in 2 copies"),
        ({"accumulation": 2}, 34, "in 3 copies"),
        # whole gradients; those of a batch lie beside their sum
        ({"gradient_clip": 1.0}, 25, "in 4 copies"),
        ({"gradient_clip": 1.0, "accumulation": 2}, 20, "in 5 copies"),
        ({"optimizer": "rprop"}, 20, "optimizer: rprop needs"),
        ({"optimizer": "lbfgs"}, 2, "or use model.optimizer: adam"),
        # 4 (120 (H + 1) + H) bytes
        ({"tied": True}, 67, ""),
    ],
)
def test_the_units_that_are_named_do_fit_and_one_more_does_not(
    path: Path, tmp_path: Path, settings: dict[str, Any], units: int, remedy: str
) -> None:
    alone = Collectives(World.single("cpu"))
    told = outcome(alone, path, tmp_path / "run", LIMIT, hidden=500, **settings)
    assert most(told) == units
    assert remedy in told
    assert "\n" not in told
    assert most(outcome(alone, path, tmp_path / "run", LIMIT, hidden=units + 1, **settings)) == units
    assert not (tmp_path / "run").exists()
    assert outcome(alone, path, tmp_path / "run", LIMIT, hidden=units, **settings) == "FINISHED"


def test_a_search_keeps_what_its_trials_begin_from() -> None:
    open_settings = AutorecSettings(kind="autorec")
    whole = requirements.num_copies(open_settings, is_summed=False, is_searching=True, by_blocks=False)
    by_blocks = requirements.num_copies(open_settings, is_summed=False, is_searching=True, by_blocks=True)
    assert (whole.columns, by_blocks.columns) == (5, 4)


def test_of_row_wise_rmsprop_the_layers_between_have_the_moments_of_adam() -> None:
    settings = AutorecSettings(kind="autorec", optimizer="rowwise_rmsprop")
    copies = requirements.num_copies(settings, is_summed=False, is_searching=False, by_blocks=True)
    assert copies == requirements.Copies(columns=1, layers=4)


def test_layers_between_have_gradients_and_rounded_copies(path: Path, tmp_path: Path) -> None:
    """Of [H, H, H] the layers take 4 * 2 (H + 1) H bytes, 4 times over, in bfloat16 5 times."""
    alone = Collectives(World.single("cpu"))
    for compute, units in (("float32", 26), ("bfloat16", 25)):
        deep = {"hidden": [500, 500, 500], "compute": compute}
        told = outcome(alone, path, tmp_path / "run", "100KB", **deep)
        named = re.search(r"the most that fits is model\.hidden: \[(\d+), ", told)
        assert named is not None, told
        assert int(named[1]) == units
        assert "but training.memory_limit is 0.0001 GB; the most" in told


def test_several_layers_shrink_alike_and_a_single_unit_may_be_too_many(path: Path, tmp_path: Path) -> None:
    alone = Collectives(World.single("cpu"))
    told = outcome(alone, path, tmp_path / "run", LIMIT, hidden=[500, 250, 500])
    named = re.search(r"fits is model\.hidden: \[(\d+), (\d+), (\d+)\]", told)
    assert named is not None, told
    assert [int(one) for one in named.groups()] == [int(named[1]), int(named[1]) // 2, int(named[1])]
    assert "not even 1 unit fits" in outcome(alone, path, tmp_path / "run", "1KB", hidden=2)


@pytest.mark.parametrize(("parallel", "size"), [("ddp", 2), ("sharded", 2), ("sharded", 4)])
def test_every_rank_refuses_with_the_same_line(path: Path, tmp_path: Path, parallel: str, size: int) -> None:
    ranks = run_ranks(outcomes, size, tmp_path, path, tmp_path / "run", parallel, deadline_s=60)
    assert all(theirs == ranks[0] for theirs in ranks)
    refused, (fitting, one_more) = ranks[0]
    if parallel == "ddp":
        assert most(refused) == 20
        assert refused.endswith("or model.parallel: sharded on more ranks")
    else:
        # A rank has its share of the columns alone.
        assert 27 * size < most(refused) <= 34 * size
        assert refused.endswith("rowwise_rmsprop, or more ranks")
    assert fitting == "FINISHED"
    assert most(one_more) == most(refused)
    assert [folder.name for folder in (tmp_path / "run").iterdir()] == ["0"]


def on_a_rank_without_memory(collectives: Collectives, path: Path, run_dir: Path) -> str:
    free = 100_000 if collectives.world.rank == 1 else 10**9
    vars(free_memory)["free_bytes"] = lambda *_: free
    return outcome(collectives, path, run_dir, None, hidden=500, parallel="ddp")


def test_all_refuse_where_one_lacks_memory(path: Path, tmp_path: Path) -> None:
    first, second = run_ranks(on_a_rank_without_memory, 2, tmp_path, path, tmp_path / "run", deadline_s=30)
    assert first == second
    assert "GB on rank 1 for the parameters of 120 columns, in 5 copies, but 0.0001 GB are free" in first
