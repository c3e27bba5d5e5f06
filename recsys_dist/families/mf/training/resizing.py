"""A matrix factorization in training goes on with another number of factors."""

from __future__ import annotations

import math
from typing import Any

import torch

from recsys_dist.families.mf.em.factor_map import FactorMap, PrincipalAxes, widening
from recsys_dist.families.mf.em.prior import Prior
from recsys_dist.families.mf.training.factorization import INITIAL_VARIANCE, Factorization, initial_factors
from recsys_dist.families.mf.training.side import FactorSide
from recsys_dist.kernels.sparse import Tables

SMALL = 0.3
"""Variance of additional factors, as a share of that of the first ones: they should find what those leave, and not
disturb them."""


def resize(model: Factorization[Any], to: Factorization[Any], seed: int) -> None:
    """Carry the state of `model` over to one that has not started, with more factors or fewer. Collective.

    The strongest principal axes are kept; additional factors begin with small random values, keyed by `seed`.
    What follows from the counts of the ratings, from the form and from the E step of the users is left to do.
    """
    factors, more = model.users.layout.num_factors, to.users.layout.num_factors
    if more < factors:
        axes = PrincipalAxes.of(model.users.prior, model.items.prior)
        user_map, item_map = axes.strongest(more)
    else:
        user_map = item_map = widening(factors, more, model.users.prior.mean_n.device)
    to.noise_variance, to.unit_variance = model.noise_variance, model.unit_variance
    to.users.take_columns(user_map.of_columns(model.users.columns(), item_map))
    to.items.take_columns(_moved(model, to, item_map.of_columns(model.items.columns(), user_map)))
    for old, new, of_side in ((model.users, to.users, user_map), (model.items, to.items, item_map)):
        new.prior, new.dof = _prior(old, of_side, factors, math.sqrt(model.unit_variance)), old.dof
    if more > factors:
        _fill(to, factors, seed)


def _moved(
    model: Factorization[Any], to: Factorization[Any], columns: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """The rows of the items that a rank owns afterwards: the owners depend on the number of factors."""
    first, last = to.items.start, to.items.start + to.items.num_rows
    tables = {name: column.reshape(len(column), math.prod(column.shape[1:])) for name, column in columns.items()}
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in columns}
    for (start, stop), block in model.exchange.travel(Tables(list(tables.values()))):
        here = slice(max(first - start, 0), max(min(last, stop) - start, 0))
        for name, rows in zip(tables, block.plain, strict=True):
            parts[name].append(rows[here])
    return {
        name: torch.cat(parts[name]).view(to.items.num_rows, *column.shape[1:]) for name, column in columns.items()
    }


def _prior(side: FactorSide, of_side: FactorMap, factors: int, std: float) -> Prior:
    """The prior after the change; additional factors have a variance of their own."""
    prior = of_side.of_prior(side.prior)
    prior.covariance_nn.diagonal()[factors:-1] = SMALL * INITIAL_VARIANCE * std
    return prior


def _fill(to: Factorization[Any], factors: int, seed: int) -> None:
    """Random values of the additional factors of the items."""
    scale = math.sqrt(SMALL * math.sqrt(to.unit_variance))
    n, items = to.items.layout.num_own, to.items
    for number, (start, stop) in enumerate(to.solve_blocks):
        if items.start <= start < items.start + items.num_rows:
            here = slice(start - items.start, stop - items.start)
            mean_nB = initial_factors(seed, number, stop - start, n).to(items.mean_nR.device)
            items.mean_nR[factors:-1, here] = scale * mean_nB[factors:-1]
