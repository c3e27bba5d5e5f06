"""Train one other program on exported ratings and predict the test pairs. `peers.py` starts it in the environment
of that program: nothing is imported but numpy, scipy and the program itself.

    python opponent_run.py PROGRAM EXPORT_DIR OUTPUT_DIR SETTINGS_AS_JSON

EXPORT_DIR is what exported.py wrote. Written to OUTPUT_DIR: predictions.npy (one float for
each test pair, NaN where the program has none, not clipped) and outcome.json (seconds of loading and of training).
Loading is all that comes before training: reading the export and bringing it into the form that the program takes.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

THREADS = 2
Training = Callable[[], Callable[[], np.ndarray]]
"""Trains, and gives what predicts the test pairs. Only the training is timed."""


class Export:
    """The ratings as arrays: user_index and item_index int32, rating float32, of the splits train and test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._arrays = np.load(folder / "ratings.npz")
        self.num_users, self.num_items = (int(size) for size in self._arrays["shape"])

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return tuple(self._arrays[f"{name}_{column}"] for column in ("user_index", "item_index", "rating"))

    @property
    def held_out_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        return self.split("test")[:2]


def libmf(export: Export, settings: dict[str, Any]) -> Training:
    """LIBMF through its binding on PyPI, by stochastic gradient descent on p_u . q_i.

    The C function is called on ratings that lie ready: `MF.fit` of the binding would convert them first.
    `MF.predict` is passed over: it hands the pairs over row by row and its C side reads them column by column. The
    factors themselves are right, and r_ui = p_u . q_i. Rows without ratings are NaN.
    """
    from libmf.mf import MF, MFModel, MFParam, mf

    class Problem(ctypes.Structure):
        _fields_ = [(name, ctypes.c_int) for name in ("m", "n")]
        _fields_ += [("nnz", ctypes.c_longlong), ("R", ctypes.c_void_p)]

    nodes = np.rec.fromarrays(export.split("train"), dtype=[("u", "i4"), ("v", "i4"), ("r", "f4")])
    mf.mf_train.restype, mf.mf_train.argtypes = ctypes.POINTER(MFModel), [ctypes.POINTER(Problem), MFParam]

    def fit() -> Callable[[], np.ndarray]:
        model = MF(nr_threads=THREADS, quiet=True, **settings)
        problem = Problem(export.num_users, export.num_items, len(nodes), nodes.ctypes.data)
        model.model = mf.mf_train(problem, model._options).contents
        return lambda: dots(model.p_factors(), model.q_factors(), *export.held_out_pairs)

    return fit


def surprise(export: Export, settings: dict[str, Any]) -> Training:
    """Surprise's SVD: mu + b_u + c_i + p_u . q_i by stochastic gradient descent, one thread.

    The training set is built from arrays; its own reader needs about three times the memory for the same lists.
    """
    from surprise import SVD, Trainset

    user_index, item_index, rating = export.split("train")
    gc.disable()
    lists = dict(rating_lists(user_index, item_index, rating, export.num_items))
    sizes = (export.num_users, export.num_items, len(rating))
    trainset = Trainset(lists, {}, *sizes, (float(rating.min()), float(rating.max())), {}, {})

    def predict(model: SVD) -> np.ndarray:
        user, item = export.held_out_pairs
        is_known = (np.bincount(user_index, minlength=export.num_users) > 0)[user]
        is_known &= (np.bincount(item_index, minlength=export.num_items) > 0)[item]
        # Biases of the unknown are 0; their factors are the random start, which its own predict leaves out too.
        return (
            trainset.global_mean
            + model.bu[user]
            + model.bi[item]
            + is_known * dots(model.pu, model.qi, user, item)
        )

    def fit() -> Callable[[], np.ndarray]:
        model = SVD(random_state=0, **settings).fit(trainset)
        return lambda: predict(model)

    return fit


def rating_lists(user_index: np.ndarray, item_index: np.ndarray, rating: np.ndarray, num_items: int) -> Any:
    """(user, [(item, rating), ...]) for each user; `user_index` ascends. Equal numbers are the same object."""
    values, code = np.unique(rating, return_inverse=True)
    items, numbers = np.arange(num_items).astype(object), values.astype(float).astype(object)
    users, starts = np.unique(user_index, return_index=True)
    for user, start, stop in zip(users.tolist(), starts, [*starts[1:], len(rating)], strict=True):
        yield user, list(zip(items[item_index[start:stop]], numbers[code[start:stop]], strict=True))


def cmfrec(export: Export, settings: dict[str, Any]) -> Training:
    """cmfrec's CMF on ratings alone: mu + b_u + c_i + p_u . q_i by alternating least squares."""
    from cmfrec import CMF
    from scipy.sparse import coo_matrix

    user_index, item_index, rating = export.split("train")
    ratings = coo_matrix((rating, (user_index, item_index)), shape=(export.num_users, export.num_items))

    def fit() -> Callable[[], np.ndarray]:
        # As its documentation advises where speed counts.
        fast = {"precompute_for_predictions": False, "produce_dicts": False, "use_float": True}
        model = CMF(method="als", nthreads=THREADS, verbose=False, **fast, **settings).fit(ratings)
        return lambda: model.predict(*export.held_out_pairs)

    return fit


def spark(export: Export, settings: dict[str, Any]) -> Training:
    """Spark's ALS on p_u . q_i, in one process with as many threads."""
    from pyspark.ml.recommendation import ALS

    session = spark_session(export.folder)
    ratings = session.read.parquet(str(export.folder / "train.parquet")).cache()
    ratings.count()

    def predict(model: Any) -> np.ndarray:
        users, items = (
            factor_rows(table.collect(), num_rows, settings["rank"])
            for table, num_rows in ((model.userFactors, export.num_users), (model.itemFactors, export.num_items))
        )
        session.stop()
        return dots(users, items, *export.held_out_pairs)

    def fit() -> Callable[[], np.ndarray]:
        columns = {"userCol": "user_index", "itemCol": "item_index", "ratingCol": "rating"}
        model = ALS(seed=0, **columns, **settings).fit(ratings)
        return lambda: predict(model)

    return fit


def spark_session(folder: Path) -> Any:
    """A Spark of this process alone, that listens on loopback only."""
    from pyspark.sql import SparkSession

    options = {
        "spark.driver.memory": "6g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.local.dir": str(folder / "spark"),
        "spark.sql.warehouse.dir": str(folder / "spark"),
        # Its linear algebra uses the vector units of the processor only where the JVM is told to show them.
        "spark.driver.extraJavaOptions": "--add-modules=jdk.incubator.vector",
    }
    builder = SparkSession.builder.master(f"local[{THREADS}]").appName("peers")
    session = builder.config(map=options).getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def factor_rows(rows: list[Any], num_rows: int, rank: int) -> np.ndarray:
    """Rows (id, features) as a matrix; NaN for ids without a row."""
    factors = np.full((num_rows, rank), np.nan, np.float32)
    factors[[row.id for row in rows]] = [row.features for row in rows]
    return factors


def dots(users_UK: np.ndarray, items_IK: np.ndarray, user: np.ndarray, item: np.ndarray) -> np.ndarray:
    """p_u . q_i of each pair, in blocks; NaN where the program knows no such row."""
    predicted = np.full(len(user), np.nan)
    has_rows = np.flatnonzero((user < len(users_UK)) & (item < len(items_IK)))
    for pairs in np.array_split(has_rows, 1 + len(has_rows) // 100_000):
        predicted[pairs] = np.einsum("nk,nk->n", users_UK[user[pairs]], items_IK[item[pairs]], dtype=np.float64)
    return predicted


PROGRAMS = {"libmf": libmf, "surprise": surprise, "cmfrec": cmfrec, "spark": spark}


def main(program: str, export: str, output: str, settings: str) -> None:
    start = time.perf_counter()
    fit = PROGRAMS[program](Export(Path(export)), json.loads(settings))
    loaded = time.perf_counter()
    predict = fit()
    trained = time.perf_counter()
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "predictions.npy", np.asarray(predict(), np.float32))
    outcome = {"load_seconds": loaded - start, "train_seconds": trained - loaded}
    (folder / "outcome.json").write_text(json.dumps(outcome))


if __name__ == "__main__":
    main(*sys.argv[1:])
