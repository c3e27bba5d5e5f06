"""Exports read by pyarrow and numpy alone, as a program would that knows nothing of this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def read(folder: Path, name: str) -> pa.Table:
    return pq.read_table(folder / f"{name}.parquet")


def about(table: pa.Table) -> dict[str, Any]:
    return json.loads(table.schema.metadata[b"recsys_dist"])


def vectors(column: pa.ChunkedArray) -> np.ndarray:
    flat = column.combine_chunks().flatten().to_numpy()
    return flat.reshape(len(column), -1)


def ids(table: pa.Table, name: str) -> list[str]:
    return table[name].to_pylist()


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def scores_of_factors(folder: Path) -> np.ndarray:
    """offset + biases + products of factors of all pairs."""
    users, items = read(folder, "users"), read(folder, "items")
    products = vectors(users["factors"]) @ vectors(items["factors"]).T
    biases = users["bias"].to_numpy()[:, None] + items["bias"].to_numpy()
    return about(users)["offset"] + biases + products


def predictions_of_factors(folder: Path) -> np.ndarray:
    """The predictions of all pairs, by the formula in the metadata."""
    scores, rule = scores_of_factors(folder), about(read(folder, "items"))
    if (link := rule["link"]) is not None:
        scores = link["low"] + link["width"] * sigmoid(link["intercept"] + link["slope"] * scores)
    return scores if rule["clip"] is None else np.clip(scores, *rule["clip"])


def matrix(table: pa.Table, rows: tuple[str, list[str]], columns: tuple[str, list[str]], value: str) -> np.ndarray:
    """A table of triples as a dense matrix, NaN where it has no line."""
    row_of = {one: place for place, one in enumerate(rows[1])}
    column_of = {one: place for place, one in enumerate(columns[1])}
    dense = np.full((len(row_of), len(column_of)), np.nan)
    places = [row_of[one] for one in ids(table, rows[0])], [column_of[one] for one in ids(table, columns[0])]
    dense[places] = table[value].to_numpy()
    return dense


def predictions_of_weights(folder: Path, user_ids: list[str]) -> np.ndarray:
    """The scores of all pairs from weights between items; the popularity for a user without values."""
    items = read(folder, "items")
    item_ids = ids(items, "item_id")
    weights = matrix(read(folder, "weights"), ("item_id", item_ids), ("neighbor_id", item_ids), "weight")
    values = matrix(read(folder, "ratings"), ("user_id", user_ids), ("item_id", item_ids), "value")
    values = np.nan_to_num(values)
    scores = values @ np.nan_to_num(weights).T
    scores[~values.any(1)] = items["popularity"].to_numpy()
    return scores


def lists(scores: np.ndarray, folder: Path, user_ids: list[str], n: int) -> list[list[str]]:
    """The n best unseen items of each user, by ratings.parquet."""
    item_ids = ids(read(folder, "items"), "item_id")
    seen = matrix(read(folder, "ratings"), ("user_id", user_ids), ("item_id", item_ids), "rating")
    left = np.where(np.isnan(seen), scores, -np.inf)
    best = np.argsort(-left, axis=1, kind="stable")[:, :n]
    return [
        [item_ids[item] for item in row if np.isfinite(left[user, item])] for user, row in enumerate(best.tolist())
    ]
