"""A study on the disk: trials that a kill left, trials that go on, other settings refused."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from recsys_dist.errors import ConfigError, DataError, StorageError
from recsys_dist.sweeping.goal import Goal
from recsys_dist.sweeping.space import Choice, Range, Space
from recsys_dist.sweeping.study import FILE, RANDOM_TRIALS, Study, open_study

pytest.importorskip("optuna", reason="needs the extra sweep")

SPACE = Space({"model.factors": Range(1, 10**6, True, False), "model.hidden": Choice(([8], [8, 4]))})


def opened(
    folder: Path, goal: Goal = Goal.RATINGS, seed: int = 0, **options: Any
) -> AbstractContextManager[Study]:
    defaults: dict[str, Any] = {"facts": {"model.seed": 1}, "prunes": True, "first": None}
    return open_study(folder, SPACE, goal, seed=seed, **{**defaults, **options})


@pytest.fixture
def study(tmp_path: Path) -> Iterator[Study]:
    with opened(tmp_path) as found:
        yield found


def test_trials_end_in_their_ways_and_the_best_is_the_least(study: Study) -> None:
    for value in (0.9, 0.7, 0.7):
        study.complete(study.ask()[0], value, 5, 1.5)
    study.fail(study.ask()[0], "diverged")
    number, settings = study.ask()
    study.report(number, 1, 0.95)
    study.report(number, 2, 0.94)
    study.prune(number, 0.5)
    study.ask()
    states = [(one.state, one.value, one.epochs, one.error) for one in study.records()]
    assert states == [
        ("complete", 0.9, 5, None),
        ("complete", 0.7, 5, None),
        ("complete", 0.7, 5, None),
        ("fail", None, None, "diverged"),
        ("pruned", None, 2, None),
        ("running", None, None, None),
    ]
    assert study.records()[4].settings == settings
    best = study.best()
    assert best is not None
    assert best.number == 1


def test_for_lists_the_best_is_the_largest(tmp_path: Path) -> None:
    with opened(tmp_path, Goal.LISTS) as study:
        assert study.best() is None
        for value in (0.2, 0.3, 0.1):
            study.complete(study.ask()[0], value, 1, 1.0)
        best = study.best()
    assert best is not None
    assert best.number == 1


def test_what_a_kill_left_running_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        study.complete(study.ask()[0], 0.9, 5, 1.5)
        number, settings = study.ask()
        study.report(number, 1, 0.8)
    with opened(tmp_path) as study:
        assert study.left_running() == {number: settings}
        assert study.reported(number) == {1}
        study.report(number, 2, 0.7)
        study.complete(number, 0.7, 2, 1.0)
        assert study.left_running() == {}
        assert [one.value for one in study.records()] == [0.9, 0.7]


def test_a_trial_that_a_kill_left_without_some_settings_gets_them(tmp_path: Path) -> None:
    with opened(tmp_path) as study:
        drawn = study._study.ask({"model.factors": SPACE.distributions()["model.factors"]}).params
    with opened(tmp_path) as study:
        (settings,) = study.left_running().values()
        assert settings.keys() == SPACE.dimensions.keys()
        assert settings["model.factors"] == drawn["model.factors"]
        assert study.records()[0].settings == settings


def test_a_study_that_is_opened_again_draws_other_settings(tmp_path: Path) -> None:
    drawn = []
    for _ in range(4):
        with opened(tmp_path) as study:
            number, settings = study.ask()
            study.complete(number, 0.5, 1, 1.0)
            drawn.append(settings["model.factors"])
    assert len(set(drawn)) == 4


def test_the_first_trial_of_a_new_study_may_be_given(tmp_path: Path) -> None:
    first = {"model.factors": 17, "model.hidden": "[8, 4]"}
    with opened(tmp_path, first=first) as study:
        assert study.ask() == (0, {"model.factors": 17, "model.hidden": [8, 4]})
    with opened(tmp_path, first=first) as study:
        assert study.ask()[1] != {"model.factors": 17, "model.hidden": [8, 4]}


@pytest.mark.parametrize("prunes", [True, False])
def test_a_trial_that_is_worse_than_most_is_told(tmp_path: Path, prunes: bool) -> None:
    with opened(tmp_path, prunes=prunes) as study:
        for _ in range(RANDOM_TRIALS):
            number, _ = study.ask()
            assert not any(study.report(number, epoch, 0.8) for epoch in range(1, 7))
            study.complete(number, 0.8, 6, 1.0)
        number, _ = study.ask()
        assert any(study.report(number, epoch, 0.9) for epoch in range(1, 7)) == prunes


def test_other_settings_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    with (
        pytest.raises(
            ConfigError, match=r"model\.seed is 2, but the study in .* was started with 1; use that value"
        ),
        opened(tmp_path, facts={"model.seed": 2}),
    ):
        pass


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fail_trials(study: Study, number: int) -> None:
    for _ in range(number):
        study.fail(study.ask()[0], "a long reason" * 1000)


def test_a_full_disk_is_told_in_a_line_and_the_study_goes_on_later(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    size = (tmp_path / FILE).stat().st_size
    with (
        pytest.raises(StorageError, match=r"cannot write .*study\.db: disk I/O error$"),
        opened(tmp_path) as study,
        no_file_grows_beyond(size),
    ):
        fail_trials(study, 100)
    with opened(tmp_path) as study:
        for number in study.left_running():
            study.complete(number, 0.9, 1, 1.0)
        assert "running" not in {one.state for one in study.records()}


def test_a_file_that_is_no_study_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 100)
    with pytest.raises(DataError, match=r"study\.db is not a study that can be opened: .*file is not a database"):
        opened(tmp_path).__enter__()
