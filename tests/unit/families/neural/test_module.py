"""The module of a family: what is wrong with it is told in a line; starting values belong to rows, not ranks."""
# ruff: noqa: ARG001, ARG002 - all are built by one signature

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from recsys_dist.dataset.manifest import RatingStats
from recsys_dist.errors import ConfigError
from recsys_dist.families.neural import module as module_of
from recsys_dist.families.neural.module import check_module, initial_parts
from recsys_dist.families.neural.settings import PairSettings
from recsys_dist.protocols.registry import family_named
from tests.families.cases import NEUMF, know_example

RATING = RatingStats(min=1, max=5, mean=3.2)
USERS, ITEMS = 23, 17


class Dot(nn.Module):
    """The plainest module: a product of two rows."""

    def __init__(self, num_users: int, num_items: int) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(num_users + 1, 3), nn.Embedding(num_items + 1, 3)

    def forward(self, user_N, item_N):
        return (self.user(user_N) * self.item(item_N)).sum(1)


class Source:
    """A family as module.py sees it."""

    name, settings = "dot", PairSettings
    user_tables: object = ("user.weight",)
    item_tables: object = ("item.weight",)

    def build(self, settings, num_users, num_items, rating):
        return Dot(num_users, num_items)


def source(**changes):
    made: Any = type("Source", (Source,), changes)()
    return made


def failing(self, settings, num_users, num_items, rating):
    raise ValueError("no such\nlayer")


def one_row_short(self, settings, num_users, num_items, rating):
    return Dot(num_users - 1, num_items)


def growing(self, settings, num_users, num_items, rating):
    module = Dot(num_users, num_items)
    module.also = nn.Parameter(torch.zeros(num_users))
    return module


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"build": failing}, r"build failed: ValueError: no such layer"),
        ({"build": lambda *_: None}, r"build returns a NoneType, not an nn\.Module"),
        ({"build": one_row_short}, r"user\.weight has the shape \[23, 3\], but 23 users need 24 rows"),
        (
            {"build": growing},
            r"also grows with the number of users or items, but neither user_tables nor item_",
        ),
        ({"user_tables": ("users",)}, r"user_tables names 'users', but the module has no such parameter"),
        ({"item_tables": ()}, r"item_tables is not a tuple of parameter names"),
        ({"item_tables": "item.weight"}, r"item_tables is not a tuple of parameter names"),
    ],
)
def test_what_is_wrong_with_a_module_is_told_in_one_line(changes, told):
    with pytest.raises(ConfigError, match=told) as refused:
        check_module(source(**changes), PairSettings(kind="dot"), USERS, ITEMS, RATING)
    assert "\n" not in str(refused.value)
    assert "test_module:Source" in str(refused.value)


def test_a_sound_module_passes():
    check_module(source(), PairSettings(kind="dot"), USERS, ITEMS, RATING)


def parts(users, items, seed=0):
    know_example()
    family: Any = family_named("neumf")
    return initial_parts(family, family.settings(**NEUMF), RATING, seed, {"users": users, "items": items})


def test_starting_values_are_those_of_the_rows_whoever_has_them(monkeypatch):
    monkeypatch.setattr(module_of, "BLOCK_ROWS", 8)
    whole = parts((0, USERS), (0, ITEMS))
    first, last = parts((0, 11), (0, 16)), parts((11, USERS), (16, ITEMS))
    for side in ("users", "items"):
        for name, rows in whole.rows(side).items():
            joined = torch.cat([first.rows(side)[name], last.rows(side)[name]])
            assert torch.equal(joined, rows), name
            assert len(torch.unique(rows[:, 0])) > 3, "rows of different blocks differ too"
    assert all(torch.equal(first.rest[name], value) for name, value in whole.rest.items())


def test_starting_values_depend_on_the_seed_and_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, other = parts((0, USERS), (0, ITEMS)), parts((0, USERS), (0, ITEMS), seed=1)
    assert torch.equal(torch.rand(3), expected)
    name = next(iter(one.users))
    assert not torch.equal(one.users[name], other.users[name])
