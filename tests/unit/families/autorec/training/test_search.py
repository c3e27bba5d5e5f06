"""Which settings an AutoRec tries out, what it keeps, and that given ones are obeyed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recsys_dist.families.autorec.settings import AutorecSettings
from recsys_dist.families.autorec.training.search import (
    FULL_BATCH_EPOCHS,
    SEARCH_SHARE,
    SETTLING_EPOCHS,
    AutorecSearch,
    Choice,
    first_choice,
    leaves_open,
    obstacle,
)

EPOCHS = 100


def settings_of(**given: Any) -> AutorecSettings:
    return AutorecSettings(kind="autorec", **given)


def searched(settings: AutorecSettings, error: Callable[[Choice], float], epochs: int = EPOCHS) -> AutorecSearch:
    """The end of a search in which a choice ends with `error`."""
    search, done = AutorecSearch.start(settings, epochs, can_judge=True), 0
    while search.is_searching:
        for _ in range(search.length(settings, epochs - done)):
            search, done = search.after_epoch(), done + 1
        search, told = search.after_stage(error(search.choice), settings, epochs - done, epochs)
        search = AutorecSearch.model_validate_json(search.model_dump_json())
        assert str(search.choice) in told
    assert done <= SEARCH_SHARE * epochs
    return search


def bowl(best: Choice) -> Callable[[Choice], float]:
    """An error that is least at `best`."""

    def error(choice: Choice) -> float:
        return (
            1.0
            + abs(choice.implicit_input - best.implicit_input)
            + abs(choice.input_dropout - best.input_dropout)
            + abs(choice.hidden_dropout - best.hidden_dropout)
            + abs(choice.regularization / best.regularization - 1)
        )

    return error


@pytest.mark.parametrize("regularization", [50.0, 200.0, 800.0])
@pytest.mark.parametrize("dropout", [0.2, 0.8])
@pytest.mark.parametrize("implicit_input", [0.0, 4.0])
def test_the_best_is_found_setting_by_setting(
    regularization: float, dropout: float, implicit_input: float
) -> None:
    best = Choice(regularization=regularization, input_dropout=dropout, implicit_input=implicit_input)

    assert searched(settings_of(), bowl(best)).choice == best


@pytest.mark.parametrize("dropout", [0.0, 0.2, 0.5])
def test_dropout_of_hidden_units_is_tried_where_asked(dropout: float) -> None:
    best = Choice(regularization=400.0, input_dropout=0.8, implicit_input=4.0, hidden_dropout=dropout)

    assert searched(settings_of(hidden_dropout=None), bowl(best)).choice == best
    assert searched(settings_of(), bowl(best)).choice == best.model_copy(update={"hidden_dropout": 0.0})
    given = searched(settings_of(hidden_dropout=0.1), bowl(best))
    assert {choice.hidden_dropout for choice in given.tried} == {0.1}


def test_what_there_was_no_time_for_is_told() -> None:
    settings, epochs = settings_of(hidden_dropout=None), 30
    search, told, done = AutorecSearch.start(settings, epochs, can_judge=True), "", 0
    while search.is_searching:
        done += search.length(settings, epochs - done)
        search, told = search.after_stage(1.0, settings, epochs - done, epochs)
    assert told.endswith("the last epochs are for all ratings (input_dropout, regularization not tried)")


def test_what_is_given_is_obeyed() -> None:
    best = Choice(regularization=800.0, input_dropout=0.8, implicit_input=4.0)
    for name, value in {"regularization": 7.0, "input_dropout": 0.3, "implicit_input": 0.5}.items():
        search = searched(settings_of(**{name: value}), bowl(best))
        assert {getattr(choice, name) for choice in search.tried} == {value}
        assert search.choice == best.model_copy(update={name: value})


def test_where_all_is_given_nothing_is_tried() -> None:
    settings = settings_of(regularization=7.0, input_dropout=0.3, implicit_input=0.5)

    search = AutorecSearch.start(settings, EPOCHS, can_judge=True)

    assert not search.is_searching
    assert search.choice == Choice(regularization=7.0, input_dropout=0.3, implicit_input=0.5)


@pytest.mark.parametrize(("epochs", "can_judge"), [(EPOCHS, False), (2 * SETTLING_EPOCHS, True)])
def test_without_ratings_to_judge_by_or_epochs_the_first_choice_stands(epochs: int, can_judge: bool) -> None:
    search = AutorecSearch.start(settings_of(), epochs, can_judge)

    assert not search.is_searching
    assert search.choice == first_choice(settings_of())
    assert leaves_open(settings_of())
    too_short = "tuning needs a training of at least 18 epochs, from its start"
    told = too_short if can_judge else "there are too few ratings to judge by"
    assert obstacle(settings_of(), epochs, can_judge) == told


@pytest.mark.parametrize("factor", [1, FULL_BATCH_EPOCHS])
def test_the_epochs_that_are_said_to_suffice_do(factor: int) -> None:
    settings = settings_of(optimizer="adam" if factor == 1 else "rprop")
    assert AutorecSearch.start(settings, 18 * factor, can_judge=True).is_searching
    assert not AutorecSearch.start(settings, 18 * factor - 1, can_judge=True).is_searching
    assert obstacle(settings, 18 * factor, can_judge=True) is None


def test_a_lower_error_that_does_not_suffice_is_said_to_be_too_little() -> None:
    trying = AutorecSearch(phase="trying", choice=first_choice(settings_of()))
    trying, _ = trying.after_stage(1.0, settings_of(), 57, 60)
    _, told = trying.after_stage(0.9999, settings_of(), 54, 60)
    assert "reverted (it must be 0.05% lower to be kept)" in told


def test_a_little_less_error_does_not_loosen_the_model() -> None:
    """Short trials flatter what fits faster."""
    first = first_choice(settings_of())

    def error(choice: Choice) -> float:
        is_looser = choice.regularization < first.regularization or choice.input_dropout < first.input_dropout
        return 1.0 if choice == first else 0.995 if is_looser else 1.1

    assert searched(settings_of(), error).choice == first


def test_lbfgs_has_no_dropout_to_try() -> None:
    settings = settings_of(optimizer="lbfgs", hidden_dropout=None)
    search = searched(settings, lambda choice: 1 / choice.regularization, epochs=400)

    assert {(choice.input_dropout, choice.hidden_dropout) for choice in search.tried} == {(0.0, 0.0)}


def test_of_a_search_that_is_not_over_the_best_so_far_is_kept() -> None:
    settings = settings_of()
    search, _ = AutorecSearch.start(settings, 60, can_judge=True).after_stage(1.0, settings, 57, 60)
    assert search.finish() == AutorecSearch(phase="finishing", choice=search.choice)
    trial, _ = search.after_stage(0.9, settings, 54, 60)
    worse, _ = trial.after_stage(0.95, settings, 51, 60)
    assert worse.finish().choice == search.choice != worse.choice
