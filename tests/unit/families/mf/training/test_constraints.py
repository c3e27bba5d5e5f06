"""The M step goes on from what the E step has gathered of the constraints, whatever happened before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.mf.em.layout import PanelLayout
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.constraints import CARRIERS
from recsys_dist.families.mf.training.factorization import Factorization
from recsys_dist.families.mf.training.full_side import FullSide
from recsys_dist.families.mf.training.search import Form
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.prepared import low_rank_ratings, small_dataset, write_dataset
from tests.support.states import saved

BOTH: dict[str, Any] = {"constrained": "both", "constrained_regularization": 2.0, "noise": "both", "factors": 4}
SMALL_LIMIT = 40_000
"""Bytes that let 97 items travel in several blocks."""


@pytest.fixture
def checked_forms(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The form of each M step; each is checked before it begins."""
    forms: list[str] = []
    solve = Factorization._solve_constraints

    def checked(model: Factorization[Any]) -> None:
        for moved, carrier, to_moved in (
            (model.users, model.items, model._to_users),
            (model.items, model.users, model._to_items),
        ):
            assert (moved.shift_Rn is None) == (carrier.constraint_Rn is None)
            if carrier.constraint_Rn is not None:
                assert torch.equal(moved.shift_Rn, to_moved([carrier.constraint_Rn])[0])
        forms.append(model.form.constrained)
        solve(model)
        sides = {"users": model.users, "items": model.items}
        sums = {"users": model._to_users, "items": model._to_items}
        for carriers, moved in CARRIERS.items():
            if sides[carriers].constraint_Rn is not None:
                (spread_R1,) = sums[carriers]([sides[moved].root_R1.square()])
                assert torch.equal(model._constraints._spread(carriers, moved), spread_R1)

    monkeypatch.setattr(Factorization, "_solve_constraints", checked)
    return forms


def new_trainer(path: Path, memory_limit: int | None = None, **settings: Any) -> EmTrainer:
    alone = Collectives(World.single())
    return EmTrainer(Dataset.open(str(path)), MfSettings(**settings), 100, 3, alone, memory_limit)


def train(trainer: EmTrainer, epochs: int) -> None:
    for _ in range(epochs):
        trainer.train_epoch(lambda: False)


@pytest.mark.parametrize("posterior", ["full", "diagonal", "point"])
@pytest.mark.parametrize("limit", [None, SMALL_LIMIT])
@pytest.mark.parametrize("num_items", [97, 1400], ids=["items travel", "users travel"])
def test_sums_of_the_constraints_are_those_of_now(
    tmp_path: Path, checked_forms: list[str], posterior: str, limit: int | None, num_items: int
) -> None:
    small_dataset(tmp_path / "data", num_users=301, num_items=num_items, num_ratings=7000, num_shards=5)
    trainer = new_trainer(tmp_path / "data", limit, posterior=posterior, **BOTH)
    train(trainer, 3)

    resumed = new_trainer(tmp_path / "data", limit, posterior=posterior, **BOTH)
    resumed.load_state(saved(trainer.state()))
    train(resumed, 2)

    assert checked_forms == ["both"] * 5


def test_they_are_so_after_each_change_of_the_form_and_of_the_factors(
    tmp_path: Path, checked_forms: list[str]
) -> None:
    small_dataset(tmp_path / "data", num_users=301, num_items=97, num_ratings=7000, num_shards=5)
    trainer = new_trainer(tmp_path / "data", constrained="none", noise="shared", factors=4, tolerance=0)
    train(trainer, 2)
    tried = ["both", "users", "none", "items", "both", "both", "both"]
    for number, constrained in enumerate(tried):
        form = Form(
            constrained=constrained, regularization=2.0 + number, noise="shared", factors=(4, 8, 2)[number % 3]
        )
        trainer._change_to(trainer._search.model_copy(update={"form": form}))
        train(trainer, 2)

    assert checked_forms[2::2] == tried


def test_they_are_so_when_withheld_ratings_return(tmp_path: Path, checked_forms: list[str]) -> None:
    ratings = low_rank_ratings(301, 97, 20_000)
    write_dataset(tmp_path / "data", *ratings, np.zeros(len(ratings[0]), int))
    trainer = new_trainer(tmp_path / "data", noise="shared", factors=4)
    withheld = trainer._shards.withheld
    while trainer.is_searching:
        train(trainer, 1)
        withheld = withheld or trainer._shards.withheld
    train(trainer, 2)

    assert withheld
    assert not trainer._shards.withheld
    assert "both" in checked_forms


def test_saved_columns_give_a_side_back() -> None:
    """Covariances are reordered batch by batch."""
    layout, generator = PanelLayout.of("items", 3, torch.device("cpu")), torch.Generator().manual_seed(0)
    for num_rows in (0, 13):
        prior = Prior.isotropic(4, 1.0, torch.device("cpu"))
        side, other = (FullSide(layout, 0, num_rows, prior, False, False) for _ in range(2))
        side._rows_at_once = 5
        side.covariance_TR.normal_(generator=generator)
        other.take_columns(side.columns())
        assert torch.equal(other.covariance_TR, side.covariance_TR)
