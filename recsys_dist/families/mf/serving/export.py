"""Export a matrix factorization: checkpoint in, tables of a model folder out (see model_folder/folder.py).

The columns of the checkpoint decide which tables the model has. One pass over the rows of each side.

U users, I items, R rows of one side, n own entries (the vector and the bias), T = n (n + 1) / 2
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from recsys_dist.checkpoint.state import StateReader
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.families.mf.serving.facts import MfFacts, constraints_of, covariances_of, precisions_of
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.state import MfState, PriorState
from recsys_dist.model_folder.tables import CHUNK_ROWS
from recsys_dist.model_folder.writer import ModelWriter
from recsys_dist.progress import Progress

Columns = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class _Target:
    """A table of the model: how to make its rows, and the row for unknown users or items, if any."""

    name: str
    rows_of: Callable[[Columns], dict[str, torch.Tensor]]
    unknown: dict[str, torch.Tensor] | None


def write_mf(
    run: StateReader, settings: MfSettings, dataset: Dataset, writer: ModelWriter, progress: Progress
) -> MfFacts:
    """Write users (p_u, b_u) and items (q_i, c_i): prediction mu + b_u + c_i + p_u . q_i.

    Covariances are left out with `posterior: point`, where they do not measure uncertainty. Returns the facts for
    the manifest.
    """
    saved = MfState.of(run.values)
    for side in SIDES:
        targets = _targets(run, side, saved, settings.posterior != "point")
        _write_side(run, side, dataset.num_rows(side), targets, writer, progress)
    return MfFacts(
        offset=saved.mu,
        noise_variance=saved.noise_variance,
        prior_mean=saved.user_prior.mean,
        prior_covariance=saved.user_prior.covariance,
        user_precision_dof=_precision_dof(run, "users", saved),
        item_precision_dof=_precision_dof(run, "items", saved),
    )


def _targets(run: StateReader, side: Side, saved: MfState, knows_uncertainty: bool) -> list[_Target]:
    has = run.read_rows(side, 0, 1).keys()
    prior = _prior_rows(saved.prior(side))
    targets = [_Target(side, lambda rows: _vector_and_bias(rows["mean"]), _vector_and_bias(prior["mean"]))]
    for column in ("variance", "covariance"):
        if column in has and knows_uncertainty:
            targets.append(_target(covariances_of(side), column, prior[column]))
    if _precision_dof(run, side, saved) is not None:
        targets.append(_target(precisions_of(side), "precision", torch.ones(1, device="cpu")))
    if "constraint" in has:
        targets.append(_target(constraints_of(side), "constraint", None))
    return targets


def _target(name: str, column: str, unknown: torch.Tensor | None) -> _Target:
    last = None if unknown is None else {column: unknown}
    return _Target(name, lambda rows: {column: rows[column]}, last)


def _write_side(
    run: StateReader,
    side: Side,
    num_rows: int,
    targets: list[_Target],
    writer: ModelWriter,
    progress: Progress,
) -> None:
    with ExitStack() as stack:
        tables = [stack.enter_context(writer.table(target.name)) for target in targets]
        for start in range(0, num_rows, CHUNK_ROWS):
            stop = min(start + CHUNK_ROWS, num_rows)
            rows = run.read_rows(side, start, stop)
            for target, table in zip(targets, tables, strict=True):
                table.append(target.rows_of(rows))
            progress(f"merging {side}", stop, num_rows)
        for target, table in zip(targets, tables, strict=True):
            if target.unknown is not None:
                table.append(target.unknown)


def _vector_and_bias(mean_Rn: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"vector": mean_Rn[:, :-1].contiguous(), "bias": mean_Rn[:, -1].contiguous()}


def _prior_rows(prior: PriorState) -> dict[str, torch.Tensor]:
    """The prior as one row of each table, for users or items without ratings."""
    mean_n = torch.tensor(prior.mean, dtype=torch.float32, device="cpu")
    covariance_nn = torch.tensor(prior.covariance, dtype=torch.float32, device="cpu")
    rows_T, columns_T = torch.triu_indices(len(mean_n), len(mean_n), device="cpu")
    return {
        "mean": mean_n[None],
        "covariance": covariance_nn[rows_T, columns_T][None],
        "variance": covariance_nn.diagonal()[None].clone(),
    }


def _precision_dof(run: StateReader, side: Side, saved: MfState) -> float | None:
    """nu of a side with a precision per row; None if all precisions are 1."""
    return saved.prior(side).precision_dof if "precision" in run.read_rows(side, 0, 1) else None
