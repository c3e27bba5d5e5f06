"""Biases with learnt variances: against the truth they were drawn from, and against the plain normal equations."""

from __future__ import annotations

import numpy as np
import pytest

from recsys_dist.dataset.blocks import Block
from recsys_dist.kernels.biases import SWEEPS, Biases

ROWS, COLUMNS = 3000, 400
MEAN, ROW_STD, COLUMN_STD, NOISE_STD = 2.5, 0.9, 0.3, 1.5


def csr_block(row: np.ndarray, column: np.ndarray, rating: np.ndarray, num_rows: int = ROWS) -> Block:
    order = np.lexsort((column, row))
    indptr = np.concatenate([[0], np.bincount(row, minlength=num_rows).cumsum()])
    return Block(0, indptr, column[order].astype(np.int32), rating[order].astype(np.float32))


def fit(block: Block, num_columns: int, sweeps: int = SWEEPS) -> Biases:
    biases = Biases(float(block.values.mean()), np.zeros(num_columns))
    for _ in range(sweeps):
        biases = biases.after(biases.sums([block]))
    return biases


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratings of the model itself. Most rows have few of them, and the better columns have more."""
    rng = np.random.default_rng(0)
    row_bias, column_bias = rng.normal(0, ROW_STD, ROWS), np.sort(rng.normal(0, COLUMN_STD, COLUMNS))[::-1]
    row = np.repeat(np.arange(ROWS), rng.geometric(0.15, ROWS))
    column = (COLUMNS * rng.random(len(row)) ** 2).astype(np.int64)
    row, column = np.divmod(np.unique(row * COLUMNS + column), COLUMNS)
    return row, column, MEAN + row_bias[row] + column_bias[column] + rng.normal(0, NOISE_STD, len(row))


def test_mean_and_variances_are_those_the_ratings_were_drawn_from(drawn) -> None:
    biases = fit(csr_block(*drawn), COLUMNS)

    assert biases.mean == pytest.approx(MEAN, abs=0.1)
    assert drawn[2].mean() > MEAN + 0.15
    assert biases.noise_std == pytest.approx(NOISE_STD, rel=0.03)
    assert biases.row_shrinkage == pytest.approx((NOISE_STD / ROW_STD) ** 2, rel=0.1)
    assert biases.column_shrinkage == pytest.approx((NOISE_STD / COLUMN_STD) ** 2, rel=0.25)


def test_learnt_biases_predict_better_than_fixed_shrinkage_around_the_mean_rating(drawn) -> None:
    held_out = np.random.default_rng(1).random(len(drawn[0])) < 0.2
    train = csr_block(*(array[~held_out] for array in drawn))
    row, column, rating = (array[held_out] for array in drawn)

    def rmse(biases: Biases) -> float:
        predicted = biases.mean + biases.of_rows(train)[row] + biases.column_bias_C[column]
        return float(np.sqrt(np.square(predicted - rating).mean()))

    learnt = rmse(fit(train, COLUMNS))
    for shrinkage in ((15.0, 10.0), (2.0, 2.0)):
        fixed = Biases(float(train.values.mean()), np.zeros(COLUMNS), *shrinkage)
        for _ in range(20):
            left_C, count_C = np.split(fixed.sums([train])[:-4], 2)
            fixed = Biases(fixed.mean, left_C / (count_C + shrinkage[1]), *shrinkage)
        assert learnt < rmse(fixed) - 0.003


def test_the_fit_solves_the_normal_equations_of_its_own_shrinkage() -> None:
    rng = np.random.default_rng(2)
    row, column = np.divmod(rng.choice(30 * 20, 200, replace=False), 20)
    rating = rng.normal(0, 1, 30)[row] + rng.normal(0, 1, 20)[column] + rng.normal(0, 1, 200)
    # The mean is a column without penalty: biases are drawn to zero around it.
    design = np.zeros((200, 51))
    design[np.arange(200), row] = design[np.arange(200), 30 + column] = design[:, 50] = 1

    block = csr_block(row, column, rating, 30)
    fitted = fit(block, 20, sweeps=400)

    penalty = np.diag(np.repeat([fitted.row_shrinkage, fitted.column_shrinkage, 0], [30, 20, 1]))
    expected = np.linalg.solve(design.T @ design + penalty, design.T @ rating.astype(np.float32))
    found = np.concatenate([fitted.of_rows(block), fitted.column_bias_C, [fitted.mean]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rows_and_columns_without_ratings_have_no_bias_and_sums_add_up_over_blocks(drawn) -> None:
    row, column, rating = drawn
    whole, one, other = (
        csr_block(row[part], column[part], rating[part], ROWS + 1) for part in (row >= 0, row < 900, row >= 900)
    )
    biases = fit(whole, COLUMNS + 1)

    assert biases.of_rows(whole)[ROWS] == biases.column_bias_C[COLUMNS] == 0
    np.testing.assert_allclose(biases.sums([one]) + biases.sums([other]), biases.sums([whole]), atol=1e-9)


def test_where_nothing_varies_the_biases_vanish() -> None:
    row, column = np.divmod(np.arange(60), 10)
    fitted = fit(csr_block(row, column, np.full(60, 4.0), 6), 10)

    assert (fitted.mean, fitted.noise_std) == (4.0, 1.0)
    assert not fitted.column_bias_C.any()


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_the_scale_of_the_ratings_does_not_matter(scale: float) -> None:
    rng = np.random.default_rng(0)
    row, column = np.divmod(np.arange(200), 10)
    rating = rng.normal(3.0, 1.0, 200)
    plain, scaled = (fit(csr_block(row, column, factor * rating, 20), 10) for factor in (1.0, scale))
    assert scaled.noise_std == pytest.approx(scale * plain.noise_std, rel=1e-4)
    assert scaled.row_shrinkage == pytest.approx(plain.row_shrinkage, rel=1e-3)


def test_without_ratings_there_is_nothing_to_learn() -> None:
    nothing = Block(0, np.zeros(4, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    start = Biases(3.0, np.zeros(2))

    assert start.after(start.sums([nothing])) is start
