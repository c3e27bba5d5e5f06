"""What the search for the form of a matrix factorization keeps, takes back and ends with, from errors alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.search import LEAST_POLISHING, TRIAL_EPOCHS, Form, Search

PLAIN = Form(constrained="none", regularization=2.0, noise="shared")


def settings(**keys: object) -> MfSettings:
    return MfSettings.model_validate({"kind": "mf", **keys})


def searched(chosen: MfSettings, limit_of: Callable[[Form], float]) -> tuple[Search, list[str]]:
    """Run the search on a model whose error halves its distance to `limit_of(form)` with each epoch."""
    search, error = Search.start(chosen, can_judge=True), 2.0
    notes: list[str] = []
    for _ in range(500):
        if not search.is_searching:
            return search, notes
        limit = limit_of(search.form)
        error = limit + (error - limit) / 2
        search, note = search.after_search_epoch(error, 1.0, chosen)
        notes += [note] if note else []
    raise AssertionError(notes)


def limit_with(
    constrained: float = 0.0, noise: float = 0.0, users: float = 0.0, best: float = 2.0
) -> Callable[[Form], float]:
    """1, less what each part of a form gains; a lambda away from `best` loses a little of it."""

    def limit(form: Form) -> float:
        gained = {"shared": 0.0, "both": noise, "users": users}[form.noise]
        if form.constrained != "none":
            gained += constrained * (1 - 0.3 * (form.regularization != best))
        return 1.0 - gained

    return limit


def test_nothing_is_tried_where_all_but_nothing_is_left_unexplained() -> None:
    search, _ = Search.start(settings(), can_judge=True).after_search_epoch(0.5, 4.0, settings())
    going_on, note = search.after_search_epoch(5e-4, 4.0, settings())
    assert (going_on.is_searching, note) == (True, None)
    for error in (3e-4, 0.0):
        over, note = search.after_search_epoch(error, 4.0, settings())
        assert (over.phase, over.form) == ("polishing", PLAIN)
        assert note == f"keeping {PLAIN}, which leaves almost no error"


@pytest.mark.parametrize(
    ("limit", "form"),
    [
        (limit_with(), PLAIN),
        (limit_with(constrained=-0.1, noise=-0.1, users=-0.1), PLAIN),
        (limit_with(constrained=0.1), Form(constrained="both", regularization=2.0, noise="shared")),
        (limit_with(constrained=0.1, best=5.0), Form(constrained="both", regularization=5.0, noise="shared")),
        (limit_with(constrained=0.1, best=0.8), Form(constrained="both", regularization=0.8, noise="shared")),
        (limit_with(noise=0.05), Form(constrained="none", regularization=2.0, noise="both")),
        (limit_with(noise=-0.05, users=0.05), Form(constrained="none", regularization=2.0, noise="users")),
        (limit_with(constrained=0.1, noise=0.05), Form(constrained="both", regularization=2.0, noise="both")),
    ],
)
def test_it_keeps_what_lowers_the_error_and_nothing_else(limit: Callable[[Form], float], form: Form) -> None:
    search, notes = searched(settings(), limit)

    assert search.form == form
    assert notes[-1] == f"keeping {form}"


def test_a_change_must_beat_what_further_epochs_alone_would_have_gained() -> None:
    """The error falls with every epoch, but by no more in the trial than before it."""
    search, error = Search.start(settings(noise="shared"), can_judge=True), 1.0
    notes: list[str] = []
    while not any("reverted" in note for note in notes):
        error *= 1 - 0.0019
        search, note = search.after_search_epoch(error, 1.0, settings(noise="shared"))
        notes += [note] if note else []
        assert not any("kept" in note for note in notes)

    assert search.form == PLAIN
    assert notes[0] == "trying constrained: both (lambda 2), noise: shared"


def test_what_is_set_by_hand_is_not_tried() -> None:
    by_hand = settings(constrained="users", constrained_regularization=3.0, noise="both")

    search = Search.start(by_hand, can_judge=True)

    assert not search.is_searching
    assert search.form == Form(constrained="users", regularization=3.0, noise="both")


@pytest.mark.parametrize("keys", [{"prior": "fixed"}, {"posterior": "point"}])
def test_what_needs_an_adaptive_full_posterior_is_not_tried_without(keys: dict[str, str]) -> None:
    search = Search.start(settings(**keys), can_judge=True)

    assert not search.is_searching
    assert search.form == PLAIN


def test_without_ratings_to_judge_by_the_model_stays_plain() -> None:
    assert Search.start(settings(), can_judge=False) == Search(phase="polishing", form=PLAIN)


def test_an_error_that_rises_in_the_end_leaves_only_the_least_polishing() -> None:
    search, notes = searched(settings(), limit_with())
    assert not search.overfits
    overfitting, error, told = Search.start(settings(noise="shared"), can_judge=True), 1.0, ""
    while overfitting.is_searching:
        error *= 1.0005
        overfitting, note = overfitting.after_search_epoch(error, 1.0, settings(noise="shared"))
        told = note or told

    assert "ending soon" in told
    assert "ending soon" not in notes[-1]
    for epoch in range(LEAST_POLISHING):
        assert overfitting.phase == "polishing"
        unending = overfitting.after_polishing_epoch(-2.0 + 0.1 * epoch, tolerance=0.0)
        overfitting = overfitting.after_polishing_epoch(-2.0 + 0.1 * epoch, tolerance=1e-4)
    assert overfitting.phase == "done"
    assert unending.phase == "polishing"


def test_the_end_of_the_epochs_takes_an_unfinished_trial_back() -> None:
    search, error = Search.start(settings(), can_judge=True), 1.0
    while search.phase != "trying":
        search, _ = search.after_search_epoch(error, 1.0, settings())

    assert search.form.constrained == "both"
    assert search.polish().form == PLAIN


def test_polishing_ends_once_the_bound_stands_still_and_not_before_its_least_epochs() -> None:
    search, epochs = Search(phase="polishing", form=PLAIN), 0
    for bound in (-2.0, -2.0, -2.0):
        search, epochs = search.after_polishing_epoch(bound, tolerance=1e-4), epochs + 1
        assert (search.phase == "done") == (epochs >= LEAST_POLISHING)
    rising = Search(phase="polishing", form=PLAIN)
    for epoch in range(20):
        rising = rising.after_polishing_epoch(-2.0 + 1e-3 * epoch, tolerance=1e-4)
    assert rising.phase == "polishing"
    last = -2.0 + 1e-3 * 19
    assert rising.bound == last
    assert rising.after_polishing_epoch(last, tolerance=0.0).phase == "polishing"


def test_the_state_survives_json_in_the_middle_of_a_trial() -> None:
    search, error = Search.start(settings(), can_judge=True), 1.0
    for _ in range(2 + TRIAL_EPOCHS // 2):
        search, _ = search.after_search_epoch(error, 1.0, settings())

    assert search.phase == "trying"
    assert Search.model_validate_json(search.model_dump_json()) == search
