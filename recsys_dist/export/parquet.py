"""Target `parquet`: what a model knows as tables, with the formula that makes predictions of them.

Factors: users.parquet, items.parquet. Weights between items: weights.parquet, items.parquet. Both also have
ratings.parquet, the train ratings, by which seen items are left out.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from recsys_dist.dataset.manifest import SIDES, Side
from recsys_dist.errors import ConfigError
from recsys_dist.export import readme
from recsys_dist.export.output import ExportWriter, Figures
from recsys_dist.export.tables import (
    ITEM_FIELDS,
    ROWS_AT_ONCE,
    item_columns,
    ranges,
    vector_column,
    vector_type,
    write_ratings,
)
from recsys_dist.inference.predictor import Predictor
from recsys_dist.protocols.portable import FactoredScorer, Factorization, Neighborhood, NeighborScorer

WEIGHTS_AT_ONCE = 1 << 22


def write_parquet(predictor: Predictor, out: ExportWriter) -> Figures:
    """Write the tables of a model. Raises `ConfigError` if it has neither factors nor weights between items."""
    scorer = predictor.scorer
    if isinstance(scorer, NeighborScorer):
        return _write_neighborhood(predictor, scorer.neighborhood, out)
    factorization = scorer.factorization if isinstance(scorer, FactoredScorer) else None
    if factorization is None:
        raise ConfigError(
            f"{predictor.catalog.url} cannot be exported to parquet: its predictions are no products of factors "
            f"plus biases (kind: {predictor.catalog.folder.manifest.kind}); mf, ials, AutoRec, ease and blends of "
            "mf, ials and AutoRec without a sigmoid output can"
        )
    return _write_factors(predictor, factorization, out)


def _write_factors(predictor: Predictor, form: Factorization, out: ExportWriter) -> Figures:
    catalog = predictor.catalog
    formula = {
        "score": "offset + user.bias + item.bias + user.factors . item.factors",
        "prediction": readme.prediction(form.link, predictor.scorer.predicts_ratings),
        "predicts_ratings": predictor.scorer.predicts_ratings,
        "offset": form.offset,
        "link": None if form.link is None else form.link._asdict(),
        "clip": [catalog.rating.min, catalog.rating.max] if predictor.scorer.predicts_ratings else None,
        "factors": form.width,
    }
    for side in SIDES:
        _write_side(predictor, form, side, formula, out)
    num_ratings = write_ratings(catalog, out)
    out.write("README.md", readme.of_factors(catalog.folder.manifest, formula).encode())
    return {"formula": formula, "factors": form.width, "ratings": num_ratings}


def _write_side(
    predictor: Predictor, form: Factorization, side: Side, formula: dict[str, Any], out: ExportWriter
) -> None:
    catalog = predictor.catalog
    num_rows = catalog.folder.num_rows(side)
    vector_1K, bias_1 = form.rows(side, num_rows, num_rows + 1)
    unknown = {"bias": float(bias_1[0]), "factors": vector_1K[0].tolist()}
    about = {"recsys_dist": json.dumps({**formula, "unknown": unknown})}
    own = [("user_id", pa.string()), ("num_train", pa.int64())] if side == "users" else ITEM_FIELDS
    fields = [*own, ("bias", pa.float32()), ("factors", vector_type(form.width))]
    with out.parquet(f"{side}.parquet", pa.schema(fields, metadata=about)) as append:
        for start, stop in ranges(num_rows):
            columns = item_columns(catalog, start, stop) if side == "items" else _users(predictor, start, stop)
            vector_RK, bias_R = form.rows(side, start, stop)
            append({**columns, "bias": pa.array(bias_R.cpu().numpy()), "factors": vector_column(vector_RK)})


def _users(predictor: Predictor, start: int, stop: int) -> dict[str, pa.Array]:
    catalog, part = predictor.catalog, slice(start, stop)
    counts = catalog.folder.num_train("users")[part]
    return {"user_id": catalog.user_ids.array[part], "num_train": pa.array(counts, pa.int64())}


def _write_neighborhood(predictor: Predictor, form: Neighborhood, out: ExportWriter) -> Figures:
    catalog = predictor.catalog
    formula = {
        "score": "sum of value(user, neighbor) * weight(item, neighbor) over the ratings of the user",
        "prediction": "score; popularity of the item for a user without a value above 0",
        "predicts_ratings": predictor.scorer.predicts_ratings,
    }
    about = {"recsys_dist": json.dumps(formula)}
    popularity_I = form.popularity_I.cpu().numpy()
    fields = [*ITEM_FIELDS, ("popularity", pa.float32())]
    with out.parquet("items.parquet", pa.schema(fields, metadata=about)) as append:
        for start, stop in ranges(catalog.num_items):
            append({**item_columns(catalog, start, stop), "popularity": pa.array(popularity_I[start:stop])})
    num_weights = _write_weights(predictor, form, about, out)
    num_ratings = write_ratings(catalog, out, form.values, about)
    out.write("README.md", readme.of_neighborhood(catalog.folder.manifest, formula).encode())
    return {"formula": formula, "weights": num_weights, "ratings": num_ratings}


def _write_weights(predictor: Predictor, form: Neighborhood, about: dict[str, str], out: ExportWriter) -> int:
    """Write the weights other than 0 as (item, neighbor, weight); returns their number."""
    ids, num_items, total = predictor.catalog.item_ids.array, predictor.catalog.num_items, 0
    fields = [("item_id", pa.string()), ("neighbor_id", pa.string()), ("weight", pa.float32())]
    step = max(1, min(ROWS_AT_ONCE, WEIGHTS_AT_ONCE // form.rows(0, 1).weight_Rk.shape[1]))
    with out.parquet("weights.parquet", pa.schema(fields, metadata=about)) as append:
        for start, stop in ranges(num_items, step):
            weight_Rk, source_Rk = (one.cpu().numpy() for one in form.rows(start, stop))
            row_N, place_N = np.nonzero(weight_Rk)
            columns = {
                "item_id": ids.take(pa.array(start + row_N)),
                "neighbor_id": ids.take(pa.array(source_Rk[row_N, place_N].astype(np.int64))),
                "weight": pa.array(weight_Rk[row_N, place_N]),
            }
            append(columns)
            total += len(row_N)
    return total
