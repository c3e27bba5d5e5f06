"""Target `onnx`: encoder and decoder of a network as ONNX files, compared with the model by onnxruntime.

b users at once, I items, N ratings of a user
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from recsys_dist.errors import CheckpointError, ConfigError
from recsys_dist.export import readme
from recsys_dist.export.output import ExportWriter, Figures
from recsys_dist.export.tables import ITEM_FIELDS, item_columns, ranges
from recsys_dist.export.tools import tools_of
from recsys_dist.inference.predictor import Predictor
from recsys_dist.protocols.portable import NetworkScorer
from recsys_dist.protocols.scorer import on_device

CHECKED_USERS, BATCH_FLOATS = 64, 1 << 24
TOLERANCE = 1e-3
"""Largest difference that is due to rounding, relative to the range of ratings."""
Floats = NDArray[np.float32]


def write_onnx(predictor: Predictor, out: ExportWriter) -> Figures:
    """Write encoder.onnx, decoder.onnx and items.parquet.

    Raises `ConfigError` if the model folds users in without a network, and without the extra.
    """
    scorer, catalog = predictor.scorer, predictor.catalog
    if not isinstance(scorer, NetworkScorer):
        raise ConfigError(
            f"{catalog.url} cannot be exported to onnx: it has no network that reads the ratings of a user (kind: "
            f"{catalog.folder.manifest.kind}); a user-AutoRec has one, and --to parquet gives factors or weights"
        )
    with tools_of("onnx"):
        import onnxruntime  # noqa: F401, PLC0415

        network = scorer.onnx_network()
    encoder, decoder = network.encoder.SerializeToString(), network.decoder.SerializeToString()
    difference, num_users = _difference(predictor, encoder, decoder)
    rating = catalog.rating
    if not difference <= TOLERANCE * max(rating.max - rating.min, 1.0):
        raise CheckpointError(
            f"{catalog.url} cannot be exported to onnx: the predictions of onnxruntime differ from those of the "
            f"model by up to {difference:.3g}"
        )
    out.write("encoder.onnx", encoder)
    out.write("decoder.onnx", decoder)
    with out.parquet("items.parquet", pa.schema(ITEM_FIELDS)) as append:
        for start, stop in ranges(catalog.num_items):
            append(item_columns(catalog, start, stop))
    figures = {
        "opset": network.encoder.opset_import[0].version,
        "units": network.decoder.graph.input[0].type.tensor_type.shape.dim[1].dim_value,
        "users_checked": num_users,
        "largest_difference": difference,
    }
    out.write("README.md", readme.of_onnx(catalog.folder.manifest, figures).encode())
    return figures


def _difference(predictor: Predictor, encoder: bytes, decoder: bytes) -> tuple[float, int]:
    """Largest difference of predictions of all items for users of the train ratings, and the number of these."""
    encode, decode = _session(encoder), _session(decoder)
    num_items = predictor.catalog.num_items
    users = _sampled_users(predictor)
    at_once, largest = max(1, BATCH_FLOATS // num_items), list[float]()
    for start in range(0, len(users), at_once):
        some = users[start : start + at_once]
        rating_bI = np.full((len(some), num_items), np.nan, np.float32)
        expected_bI = np.empty_like(rating_bI)
        for row, user in enumerate(some):
            item_N, rating_N = predictor.catalog.train_ratings.of_user(user) if user >= 0 else _nothing()
            rating_bI[row, item_N] = rating_N
            expected_bI[row] = _of_model(predictor, item_N, rating_N)
        vector, bias = encode.run(None, {"rating": rating_bI, "is_rated": ~np.isnan(rating_bI)})
        (found_bI,) = decode.run(None, {"vector": vector, "bias": bias})
        largest.append(float(np.abs(found_bI - expected_bI).max()))
    # NaN if one is NaN.
    return float(np.max(largest)), len(users)


def _sampled_users(predictor: Predictor) -> list[int]:
    """A fixed draw of users with train ratings, and -1 for a user without any."""
    rated = np.flatnonzero(predictor.catalog.folder.num_train("users"))
    count = min(CHECKED_USERS - 1, len(rated))
    chosen: list[int] = np.sort(np.random.default_rng(0).choice(rated, count, replace=False)).tolist()
    return [-1, *chosen]


def _nothing() -> tuple[NDArray[np.int64], Floats]:
    return np.empty(0, np.int64), np.empty(0, np.float32)


def _of_model(predictor: Predictor, item_N: NDArray[np.int64], rating_N: Floats) -> Floats:
    """Predictions of all items for a new user with these ratings: [I]"""
    device, num_items = predictor.device, predictor.catalog.num_items
    rating = torch.from_numpy(np.ascontiguousarray(rating_N)).to(device)
    users = predictor.scorer.fold_in(on_device(item_N, device), rating, True)
    return predictor.ratings(users, np.zeros(num_items, np.int64), np.arange(num_items))


def _session(model: bytes) -> Any:
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
