"""Which numbers of ranks can be asked for, what counts as equal, and what is said where it is not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from recsys_dist.checkpoint.compare import Difference
from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError, DataError, TrainingError
from recsys_dist.protocols.registry import family_named
from recsys_dist.training.config import TrainConfig
from recsys_dist.training.parity import ParityRun, parse_world_sizes, require_parity, verify_parity

MF, AUTOREC = family_named("mf"), family_named("autorec")
BIAS = Difference("users.bias", "first at row 7, 1 of 11 entries differ", 3e-6)
FACTORS = Difference("users.factors", "first at row 0, 5 of 44 entries differ", 2e-4)
SHAPE = Difference("users.mean", "float32 [3] against nothing", math.inf)
ZERO = Difference("users.mean", "first at row 1, 1 of 3 entries differ", 0.0)


def test_numbers_of_ranks_are_a_list_in_which_one_may_stand_twice() -> None:
    assert parse_world_sizes("1, 2,4") == (1, 2, 4)
    assert parse_world_sizes("2,2") == (2, 2)
    assert parse_world_sizes("64,1") == (64, 1)


@pytest.mark.parametrize("text", ["", "1,", "0,1", "1,-2", "1,two", "1,65", "1;2", "1,2.0", "1,²", "1,+2"])
def test_what_is_no_number_of_ranks_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a number of ranks from 1 to 64; give a list such as 1,2,4"):
        parse_world_sizes(text)


def test_a_single_number_of_ranks_compares_with_nothing() -> None:
    with pytest.raises(ConfigError, match="give two or more to compare, such as 1,2 or 2,2"):
        parse_world_sizes("2")


def runs(*differences: Difference) -> list[ParityRun]:
    beside = AUTOREC.state_beside_model
    return [ParityRun(1, 1.0, "aa"), ParityRun(2, 1.0, "aa"), ParityRun(4, 1.0, "bb", differences, beside)]


@pytest.mark.parametrize(
    ("differences", "tolerance"),
    [((), 0.0), ((BIAS, FACTORS), 2e-4), ((ZERO,), 1e-12)],
)
def test_equal_bits_or_small_differences_pass(differences: tuple[Difference, ...], tolerance: float) -> None:
    require_parity(runs(*differences), tolerance, MF)


@pytest.mark.parametrize(
    ("differences", "tolerance", "named"),
    [
        ((BIAS, FACTORS), 0.0, f"{BIAS}, and 1 more differ"),
        ((BIAS, FACTORS), 1e-5, f"{FACTORS}"),
        ((ZERO,), 0.0, f"{ZERO}"),
        ((BIAS, SHAPE), 1.0, f"{SHAPE}"),
    ],
)
def test_the_first_tensor_beyond_the_tolerance_is_named(
    differences: tuple[Difference, ...], tolerance: float, named: str
) -> None:
    with pytest.raises(TrainingError) as caught:
        require_parity(runs(*differences), tolerance, MF)
    assert str(caught.value) == f"1 rank and 4 ranks give different models: {named}"


def test_autorec_is_told_which_tolerance_it_needs() -> None:
    with pytest.raises(
        TrainingError, match=r"models of kind autorec are equal up to rounding only; use --tolerance 0\.001"
    ):
        require_parity(runs(BIAS), 0.0, AUTOREC)
    require_parity(runs(BIAS), 1e-3, AUTOREC)


def test_what_an_optimizer_remembers_is_compared_bit_by_bit_alone() -> None:
    moment = Difference("optimizer_columns.encoder_exp_avg", "first at row 0, 1 of 8 entries differ", 0.5)
    numbers = Difference("values.optimizer", "1 of 4 numbers differ", math.inf)
    require_parity(runs(moment, numbers), 1e-3, AUTOREC)
    for one in (moment, numbers):
        with pytest.raises(TrainingError, match=one.name):
            require_parity(runs(one), 0.0, AUTOREC)


def test_what_is_not_a_number_is_within_no_tolerance() -> None:
    with pytest.raises(TrainingError, match=r"users\.bias"):
        require_parity(runs(Difference("users.bias", "differs", math.nan)), 1.0, MF)


def settings(folder: Path, device: str = "cpu") -> TrainConfig:
    tree = {"dataset": str(folder / "none"), "run_dir": "unused", "device": device, "model": {"kind": "mf"}}
    return parse_settings(TrainConfig, tree, source="test")


def test_mistakes_are_told_before_any_process_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"there is no folder .*none"):
        verify_parity(settings(tmp_path), (1, 2), epochs=1)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(ConfigError, match="device: cuda is a GPU here, but verify-parity runs on the CPU"):
        verify_parity(settings(tmp_path, "cuda"), (1, 2), epochs=1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="run it without torchrun or srun"):
        verify_parity(settings(tmp_path), (1, 2), epochs=1)
