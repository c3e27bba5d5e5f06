from __future__ import annotations

import pytest

from recsys_dist.families.ials.settings import IalsSettings
from recsys_dist.families.ials.training.search import (
    FIRST_REGULARIZATION,
    FIRST_WEIGHT,
    MOST_TRIALS,
    STEP,
    PenaltySearch,
)

BOTH_OPEN = IalsSettings()


def climbed(settings, ndcg_of):
    """The search after all of its trials, and the pairs in the order of trial."""
    search, tried = PenaltySearch.start(settings, can_judge=True), []
    while (candidate := search.next_candidate(settings)) is not None:
        assert candidate.target == settings.target
        tried.append(candidate.steps)
        search = search.after(candidate, ndcg_of(*candidate.steps), 100, settings)
    return search, tried


@pytest.mark.parametrize("best", [(0, 0), (4, 0), (-1, 1), (3, -2)])
def test_the_search_climbs_to_the_best_pair(best):
    search, tried = climbed(BOTH_OPEN, lambda a, b: 1 - abs(a - best[0]) / 10 - abs(b - best[1]) / 10)
    assert search.is_over
    assert len(tried) == len(set(tried)) <= MOST_TRIALS
    penalty = search.penalty(BOTH_OPEN)
    assert penalty.regularization == pytest.approx(FIRST_REGULARIZATION * STEP ** best[0])
    assert penalty.unobserved_weight == pytest.approx(FIRST_WEIGHT * STEP ** best[1])


def test_a_search_that_always_gains_ends():
    search, tried = climbed(BOTH_OPEN, lambda a, _b: 0.01 * a)
    assert search.is_over
    assert len(tried) == MOST_TRIALS


@pytest.mark.parametrize(("name", "place"), [("regularization", 0), ("unobserved_weight", 1)])
def test_a_given_setting_is_kept(name, place):
    settings = IalsSettings(**{name: 0.7})
    search, tried = climbed(settings, lambda a, b: -abs(a - 1) - abs(b - 1))
    assert {steps[place] for steps in tried} == {0}
    assert getattr(search.penalty(settings), name) == 0.7
    assert name not in search.message(settings)


@pytest.mark.parametrize("best", ["graded", "all", "liked"])
def test_an_open_target_is_tried_with_the_best_pair(best):
    settings = IalsSettings(target=None)
    search, tried = PenaltySearch.start(settings, can_judge=True), []
    assert search.target(settings) == "graded"
    while (candidate := search.next_candidate(settings)) is not None:
        tried.append(candidate)
        (one, other), is_best = candidate.steps, candidate.target == best
        search = search.after(candidate, 1 - abs(one - 2) / 10 - abs(other) / 10 + is_best / 100, 100, settings)
    assert [candidate.target for candidate in tried[-3:]] == ["graded", "all", "liked"]
    assert [candidate.steps for candidate in tried[-2:]] == [(2, 0), (2, 0)]
    assert search.target(settings) == best
    assert search.message(settings).startswith(f"using target: {best}, regularization: ")
    only_target = IalsSettings(target=None, regularization=0.1, unobserved_weight=0.2)
    assert not PenaltySearch.start(only_target, can_judge=True).is_over


def test_nothing_is_searched_where_nothing_is_open_or_nothing_can_judge():
    given = IalsSettings(regularization=0.1, unobserved_weight=0.2)
    assert PenaltySearch.start(given, can_judge=True).is_over
    assert PenaltySearch.start(given, can_judge=True).message(given) is None
    search = PenaltySearch.start(BOTH_OPEN, can_judge=False)
    assert search.is_over
    assert search.penalty(BOTH_OPEN).regularization == FIRST_REGULARIZATION
    assert search.message(BOTH_OPEN).startswith("too few ratings to judge by; using regularization:")


def test_the_message_says_what_was_chosen_and_why():
    search, tried = climbed(BOTH_OPEN, lambda a, b: 0.25 - abs(a) / 100 - abs(b) / 100)
    text = search.message(BOTH_OPEN)
    assert f"using regularization: {FIRST_REGULARIZATION:.3g}, unobserved_weight: {FIRST_WEIGHT:.3g}:" in text
    assert f"nDCG@10 0.2500 on ratings withheld from 100 users, the best of {len(tried)} trials" in text


def test_a_state_survives_json():
    search, _ = climbed(BOTH_OPEN, lambda a, b: 0.1 / (1 + abs(a) + abs(b)))
    assert PenaltySearch.model_validate(search.model_dump(mode="json")) == search
