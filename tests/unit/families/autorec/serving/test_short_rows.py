"""Rows of few ratings are drawn to the average one, as far as what an AutoRec makes of them is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_dist.families.autorec.network.encoder import Baseline, InputForm, RowEncoder
from recsys_dist.families.autorec.serving.short_rows import ShortRows, cut_short, fit_short_rows
from recsys_dist.kernels.sparse import Csr

CPU = torch.device("cpu")
ROWS, COLUMNS, HIDDEN = 60, 200, 4


def test_the_share_rises_from_nothing_to_all() -> None:
    for pull in (0.0, 3.0, 256.0):
        shares = [ShortRows(8.0, pull).share(n) for n in range(12)]
        assert shares[0] == 0
        assert shares == sorted(shares)
        assert shares[8:] == [1.0] * 4
    assert ShortRows(8.0, 0.0).share(1) == 1.0
    assert ShortRows(8.0, 8.0).share(4) == pytest.approx(4 / 12 * 16 / 8)
    assert [ShortRows().share(n) for n in (0, 1, 99)] == [0.0, 1.0, 1.0]


@pytest.fixture
def rows() -> Csr:
    """From 20 to 79 ratings a row."""
    rng = np.random.default_rng(0)
    columns = [np.sort(rng.choice(COLUMNS, 20 + row, replace=False)) for row in range(ROWS)]
    indptr = np.cumsum([0, *map(len, columns)])
    values = rng.integers(1, 6, indptr[-1]).astype(np.float32)
    matrix = sparse.csr_matrix((values, np.concatenate(columns), indptr), shape=(ROWS, COLUMNS))
    return Csr.from_numpy(matrix.indptr, matrix.indices, matrix.data, COLUMNS, CPU)


def test_rows_cut_short_keep_some_of_their_own_ratings(rows: Csr) -> None:
    short = cut_short(rows, 24, np.random.default_rng(1))

    assert short.indptr.diff().tolist() == [min(24, 20 + row) for row in range(ROWS)]
    assert short.indptr.dtype == rows.indptr.dtype
    for row in (0, 3, 30, ROWS - 1):
        part, whole = short.rows(row, row + 1), rows.rows(row, row + 1)
        given = dict(zip(whole.indices.tolist(), whole.values.tolist(), strict=True))
        assert part.indices.tolist() == sorted(set(part.indices.tolist()))
        assert all(
            given[column] == value for column, value in zip(part.indices.tolist(), part.values, strict=True)
        )


def fitted(rows: Csr, form: InputForm) -> ShortRows:
    """Of an encoder that adds up what it sees."""
    generator = torch.Generator().manual_seed(0)
    encoder_CH = 0.01 * torch.randn(COLUMNS, HIDDEN, generator=generator) + 0.05
    baseline = Baseline(3.0, torch.zeros(COLUMNS), 1.0, 0.0, form)
    encoder = RowEncoder(baseline, encoder_CH, torch.zeros(HIDDEN), [], "identity")
    hidden_RH, bias_R = encoder.encode(rows)
    vector_cH = torch.randn(16, HIDDEN, generator=generator)
    lengths = np.diff(rows.indptr.numpy()).astype(np.int64)
    return fit_short_rows(encoder, vector_cH, hidden_RH.mean(0), bias_R.mean(), [rows], lengths)


def test_an_encoder_that_takes_what_is_missing_for_a_taste_is_not_believed(rows: Csr) -> None:
    shares = fitted(rows, InputForm("mean", implicit_input=4.0))

    assert shares.length == pytest.approx(np.quantile(np.arange(20, 80), 0.05))
    assert shares.share(1) < 0.1
    assert shares.share(16) < 0.8
    assert shares.share(23) == 1.0


def test_an_encoder_to_which_few_ratings_say_what_all_say_is_believed(rows: Csr) -> None:
    of_row = torch.arange(ROWS).repeat_interleave(rows.indptr.diff())
    alike = replace(rows, values=(1 + of_row % 5).float())

    shares = fitted(alike, InputForm("mean", length_normalization=1.0, mean_length=50.0))

    assert shares.length > 20
    assert shares.pull == 0


def test_where_rows_of_one_rating_were_trained_on_none_is_short(rows: Csr) -> None:
    single = cut_short(rows, 1, np.random.default_rng(1))
    assert fitted(single, InputForm("mean", implicit_input=4.0)).share(1) == 1.0
