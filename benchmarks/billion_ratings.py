"""Ratings of any number with a known structure, as Parquet files in a folder. It asserts nothing.

    python -m benchmarks.billion_ratings FOLDER --ratings 1e9 --users 1e6 --items 2e5 [--processes 2]

A user rates a log-normal number of items, drawn by a power law. A rating is 3.5 + user bias + item bias + taste of
rank 16 + noise, rounded to half stars and clipped to .5 .. 5. Users are made in chunks, each a row group drawn
from (seed, chunk) alone: memory does not grow with the ratings, and the files do not depend on the number of
processes. The last line is a JSON object with the number of rows and the RMSE of the true model on them, below
which no model gets.

    U users, I items, K factors, N ratings of a chunk
"""

from __future__ import annotations

import argparse
import itertools
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

FACTORS, NOISE_STD, MEAN = 16, 0.75, 3.5
USER_BIAS_STD, ITEM_BIAS_STD = 0.42, 0.45
ACTIVITY_STD, TAIL, HEAD = 1.35, 1.05, 20
"""Of the logarithm of a user's ratings; exponent and offset of the power law of the items."""
LEAST, MOST_SHARE = 15, 4
"""A user draws at least so many items, and at most a fourth of all."""
CHUNK_DRAWS, CHUNKS_PER_FILE = 1_500_000, 16
GRID, MOST_FACTOR, FACTOR_PRECISION = 64, 16.0, 1e-4
TABLE_BITS = 23
"""The items are drawn from a table of 2^23 places, by their shares of it."""
SCHEMA = pa.schema([("user", pa.int32()), ("item", pa.int32()), ("rating", pa.float32())])
USERS, ITEMS = 0, 1


@dataclass(frozen=True)
class Population:
    """The true model, and how much everyone rates."""

    num_users: int
    num_items: int
    num_ratings: int
    seed: int

    @cached_property
    def share_I(self) -> NDArray[np.float64]:
        """The share of each item in the draws."""
        weight_I = 1.0 / (np.arange(self.num_items) + HEAD) ** TAIL
        shuffled_I: NDArray[np.float64] = self._rng(ITEMS).permutation(weight_I / weight_I.sum())
        return shuffled_I

    @cached_property
    def drawn_from(self) -> NDArray[np.int32]:
        """The item at each place of the table that draws look up."""
        places = (np.arange(1 << TABLE_BITS) + 0.5) / (1 << TABLE_BITS)
        found = np.searchsorted(np.cumsum(self.share_I), places)
        return np.minimum(found, self.num_items - 1).astype(np.int32)

    @cached_property
    def item_bias_I(self) -> NDArray[np.float32]:
        """Bias of each item."""
        return self._rng(ITEMS, 1).normal(0, ITEM_BIAS_STD, self.num_items).astype(np.float32)

    @cached_property
    def item_taste_IK(self) -> NDArray[np.float32]:
        """Factors of each item."""
        return self._rng(ITEMS, 2).standard_normal((self.num_items, FACTORS), np.float32)

    @cached_property
    def draws_U(self) -> NDArray[np.int64]:
        """Draws of each user. Of several draws of an item one counts: more than the ratings wanted are needed."""
        activity_U = np.exp(self._rng(USERS).normal(0.0, ACTIVITY_STD, self.num_users))
        # Of d draws, an item of share p is among them with probability 1 - (1 - p)^d.
        grid = np.unique(np.geomspace(LEAST, max(LEAST + 1, self._most_draws), GRID).astype(np.int64))
        rare_I = np.log1p(-self.share_I)
        distinct = [-np.expm1(draws * rare_I).sum() for draws in grid]
        low, high = 1.0, MOST_FACTOR
        while high - low > FACTOR_PRECISION:
            factor = (low + high) / 2
            expected = np.interp(self._scaled(activity_U, factor), grid, distinct).sum()
            low, high = (factor, high) if expected < self.num_ratings else (low, factor)
        return self._scaled(activity_U, high)

    def _scaled(self, activity_U: NDArray[np.float64], factor: float) -> NDArray[np.int64]:
        wanted_U = activity_U / activity_U.sum() * self.num_ratings * factor
        return wanted_U.clip(LEAST, self._most_draws).astype(np.int64)

    @property
    def _most_draws(self) -> int:
        return self.num_items // MOST_SHARE

    @cached_property
    def chunks(self) -> list[tuple[int, int]]:
        """Ranges of users with about a million ratings each, which a preparation reads at once."""
        total = np.cumsum(self.draws_U)
        targets = np.arange(CHUNK_DRAWS, total[-1], CHUNK_DRAWS)
        edges = np.unique([0, *np.searchsorted(total, targets), self.num_users]).tolist()
        return list(itertools.pairwise(edges))

    def chunk(self, number: int) -> tuple[pa.Table, float]:
        """The ratings of the users of a chunk, and the squared error of the true model on them."""
        (start, stop), rng = self.chunks[number], self._rng(USERS, number)
        num_users = stop - start
        user_N = np.repeat(np.arange(num_users), self.draws_U[start:stop])
        item_N = self.drawn_from[rng.integers(0, 1 << TABLE_BITS, len(user_N), np.int32)]
        key_N = user_N * self.num_items + item_N
        # By sorting, which takes a fortieth of the time of np.unique here.
        key_N.sort()
        user_N, item_N = np.divmod(key_N[np.diff(key_N, prepend=-1) > 0], self.num_items)
        scale_K = (0.33 * 0.75 ** np.arange(FACTORS)).astype(np.float32)
        taste_UK = rng.standard_normal((num_users, FACTORS), np.float32) * scale_K
        bias_U = (MEAN + rng.normal(0, USER_BIAS_STD, num_users)).astype(np.float32)
        truth_N = np.einsum("nk,nk->n", taste_UK[user_N], self.item_taste_IK[item_N])
        truth_N += bias_U[user_N] + self.item_bias_I[item_N]
        noisy_N = truth_N + NOISE_STD * rng.standard_normal(len(user_N), np.float32)
        rating_N = (np.round(noisy_N * 2) / 2).clip(0.5, 5.0)
        squared = float(((truth_N.clip(0.5, 5.0) - rating_N) ** 2).sum(dtype=np.float64))
        columns = [user_N + start + 1, item_N * 3 + 1, rating_N]
        arrays = [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)]
        return pa.table(arrays, schema=SCHEMA), squared

    def _rng(self, *stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *stream])


def write_file(population: Population, folder: Path, file: int) -> tuple[int, float]:
    """Write one file of some chunks; returns its rows and the squared error of the true model on them."""
    num_rows, squared = 0, 0.0
    numbers = range(len(population.chunks))[file * CHUNKS_PER_FILE : (file + 1) * CHUNKS_PER_FILE]
    path = folder / f"ratings-{file:05}.parquet"
    partial_path = path.with_suffix(".partial")
    with pq.ParquetWriter(partial_path, SCHEMA) as writer:
        for number in numbers:
            table, error = population.chunk(number)
            writer.write_table(table)
            num_rows, squared = num_rows + len(table), squared + error
    partial_path.rename(path)
    return num_rows, squared


_POPULATION: list[Population] = []


def _begin(population: Population) -> None:
    _POPULATION.append(population)


def _write(folder: Path, file: int) -> tuple[int, float]:
    # The population of the process, so that its tables are made once and not with every file.
    return write_file(_POPULATION[0], folder, file)


def write_all(population: Population, folder: Path, processes: int) -> tuple[int, float]:
    """Write all files; returns the rows and the RMSE of the true model on them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = range(-(-len(population.chunks) // CHUNKS_PER_FILE))
    with ProcessPoolExecutor(processes, get_context("spawn"), _begin, (population,)) as pool:
        written = list(pool.map(partial(_write, folder), files))
    num_rows, squared = (sum(column) for column in zip(*written, strict=True))
    return int(num_rows), float((squared / num_rows) ** 0.5)


def whole(text: str) -> int:
    """A number of an option, such as 1e9."""
    return int(float(text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    for name in ("--ratings", "--users", "--items"):
        parser.add_argument(name, type=whole, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    population = Population(arguments.users, arguments.items, arguments.ratings, arguments.seed)
    num_rows, floor = write_all(population, arguments.folder, arguments.processes)
    print(json.dumps({"rows": num_rows, "floor_rmse": floor}))


if __name__ == "__main__":
    main()
