"""The figures of each user, as a table or a Parquet file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_dist.errors import ConfigError
from recsys_dist.evaluation.evaluate import Evaluation
from recsys_dist.metrics import METRICS
from recsys_dist.storage.folder import Folder


def check_per_user_file(path: Path) -> None:
    """Raise `ConfigError` if the file cannot be written, or if its name does not end in .parquet."""
    if path.suffix != ".parquet":
        raise ConfigError(f"--per-user {path}: the name must end in .parquet")
    if not path.parent.is_dir():
        raise ConfigError(f"--per-user {path}: there is no folder {path.parent}")
    if path.exists() and not path.is_file():
        raise ConfigError(f"--per-user {path}: this is not a file; give the name of a file")


def per_user_table(evaluation: Evaluation) -> pa.Table:
    """One row for each known user with a held-out rating that counts, in the order of the model.

    Columns: user_id; num_train; num_fold_in, if users are folded in; num_ratings (held out); rmse, null if the
    model predicts no ratings; num_relevant and then each metric at each cut, as `ndcg@10`, null if the user was
    not ranked.
    """
    errors, catalog = evaluation.errors, evaluation.users.model.catalog
    count_U = errors.by_user.count_G[:-1]
    user_R = np.flatnonzero(count_U)
    columns = {
        "user_id": catalog.user_ids.array.take(pa.array(user_R)),
        "num_train": pa.array(catalog.folder.num_train("users")[user_R], pa.int64()),
    }
    if evaluation.users.folded is not None:
        columns["num_fold_in"] = pa.array(evaluation.users.num_known_U[user_R])
    columns["num_ratings"] = pa.array(count_U[user_R])
    rmse_R = np.sqrt(errors.by_user.squared_G[user_R] / count_U[user_R])
    columns["rmse"] = pa.array(rmse_R, pa.float64(), from_pandas=True)
    return pa.table({**columns, **_ranking_columns(evaluation, user_R)})


def _ranking_columns(evaluation: Evaluation, user_R: np.ndarray) -> dict[str, pa.Array]:
    ranked = evaluation.ranked
    if ranked is None:
        return {}
    order_Q = np.argsort(ranked.user_Q)
    row_Q = np.searchsorted(user_R, ranked.user_Q[order_Q])
    is_null_R = np.ones(len(user_R), np.bool_)
    is_null_R[row_Q] = False

    def spread(figure_Q: np.ndarray) -> pa.Array:
        figure_R = np.zeros(len(user_R), figure_Q.dtype)
        figure_R[row_Q] = figure_Q[order_Q]
        return pa.array(figure_R, mask=is_null_R)

    columns = {"num_relevant": spread(ranked.num_relevant_Q)}
    for cut, top in enumerate(ranked.tops):
        columns |= {f"{name}@{top}": spread(ranked.metric_QTM[:, cut, m]) for m, name in enumerate(METRICS)}
    return columns


def write_per_user(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write the tables of all models; of several, with the model's folder as the first column `model`."""
    tables = [per_user_table(one) for one in evaluations]
    if len(tables) > 1:
        tables = [
            table.add_column(0, "model", pa.array([one.report.model.url] * len(table), pa.string()))
            for one, table in zip(evaluations, tables, strict=True)
        ]
    final = path.resolve()
    with Folder(str(final.parent)).writer(final.name) as stream:
        pq.write_table(pa.concat_tables(tables), stream)
