"""The model against the plain dense formula, and what it says of rows and columns that it never saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from recsys_dist.errors import ConfigError
from recsys_dist.families.autorec.network.encoder import Baseline, InputForm, RowEncoder, column_factors
from recsys_dist.families.autorec.network.hidden_layers import activate
from recsys_dist.families.autorec.network.network import Autorec, Batch, initial_encoder
from recsys_dist.families.bilinear.link import OutputLink
from recsys_dist.kernels.sampled import Pattern
from recsys_dist.kernels.sparse import Csr

CPU = torch.device("cpu")
ROWS, COLUMNS, HIDDEN = 8, 11, 5
COLD_ROW, COLD_COLUMN = 3, 4


@pytest.fixture
def ratings() -> sparse.csr_matrix:
    rng = np.random.default_rng(0)
    dense = rng.integers(1, 6, (ROWS, COLUMNS)) * (rng.random((ROWS, COLUMNS)) < 0.5)
    dense[COLD_ROW], dense[:, COLD_COLUMN] = 0, 0
    return sparse.csr_matrix(dense.astype(np.float32))


@pytest.fixture(
    params=[("identity", InputForm()), ("sigmoid", InputForm()), ("identity", InputForm("mean", 1.5, 0.5, 4.0))]
)
def model(request: pytest.FixtureRequest) -> Autorec:
    generator = torch.Generator().manual_seed(1)
    bias = torch.randn(COLUMNS, generator=generator) * 0.3
    bias[COLD_COLUMN] = 0
    link, form = request.param
    output = OutputLink(link, low=1.0, high=5.0, mean=3.1)
    baseline = Baseline(3.1, bias, scale=0.9, row_shrinkage=2.5, form=form)
    model = Autorec(baseline, (HIDDEN,), "sigmoid", output, seed=1)
    with torch.no_grad():
        warm = torch.arange(COLUMNS) != COLD_COLUMN
        model.encoder.add_(torch.randn(COLUMNS, HIDDEN, generator=generator))
        model.decoder[warm] += torch.randn(COLUMNS - 1, HIDDEN, generator=generator)
        model.hidden_bias.add_(torch.randn(HIDDEN, generator=generator))
    return model


def csr_of(matrix: sparse.csr_matrix) -> Csr:
    return Csr.from_numpy(matrix.indptr, matrix.indices, matrix.data, COLUMNS, CPU)


def dense_prediction(model: Autorec, ratings: sparse.csr_matrix) -> torch.Tensor:
    """The formulas of the module's docstring on dense matrices: [R, C]."""
    rating, base = torch.from_numpy(ratings.toarray()), model.baseline
    seen = rating > 0
    left = (rating - base.mean - base.column_bias_C) * seen
    row_bias = left.sum(1, keepdim=True) / (seen.sum(1, keepdim=True) + base.row_shrinkage)
    centred = (rating - base.mean) * seen if base.form.centring == "mean" else left - row_bias * seen
    x = (centred / base.scale + base.form.implicit_input) * seen
    x *= (base.form.mean_length / seen.sum(1, keepdim=True).clamp_min(1)) ** base.form.length_normalization
    hidden = torch.sigmoid(x @ model.encoder + model.hidden_bias)
    score = base.mean + row_bias + base.scale * (hidden @ model.decoder.T + model.output_bias)
    if model.output.kind == "identity":
        return score
    odds = (3.1 - 1) / (5 - 3.1)
    return 1 + 4 / (1 + torch.exp(-(score - 3.1) * 4 / ((3.1 - 1) * (5 - 3.1))) / odds)


def test_prediction_and_gradients_equal_the_dense_formula(model: Autorec, ratings: sparse.csr_matrix) -> None:
    rows = csr_of(ratings)
    pattern = Pattern.from_numpy(ratings.indptr, ratings.indices, COLUMNS, CPU)
    batch = Batch.of_rows(rows, pattern, model.baseline, model.baseline.row_facts(rows))
    predicted = model(batch)
    expected = dense_prediction(model, ratings)[ratings.nonzero()]
    torch.testing.assert_close(predicted, expected)
    parameters = list(model.parameters())
    got = torch.autograd.grad((predicted - batch.rating_N).square().sum(), parameters)
    want = torch.autograd.grad((expected - batch.rating_N).square().sum(), parameters)
    for one, other in zip(got, want, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_any_pair_is_predicted_within_the_range(model: Autorec, ratings: sparse.csr_matrix) -> None:
    everything = Csr.from_numpy(
        np.arange(ROWS + 1) * COLUMNS,
        np.tile(np.arange(COLUMNS), ROWS),
        np.zeros(ROWS * COLUMNS, np.float32),
        COLUMNS,
        CPU,
    )
    rows = csr_of(ratings)
    predicted = model.predict(rows, model.baseline.row_facts(rows), everything).reshape(ROWS, COLUMNS)
    torch.testing.assert_close(predicted, dense_prediction(model, ratings).detach().clamp(1, 5))


def test_it_is_a_bilinear_form_of_hidden_states_and_column_factors(
    model: Autorec, ratings: sparse.csr_matrix
) -> None:
    base = model.baseline
    columns = {
        "encoder": model.encoder.detach(),
        "decoder": model.decoder.detach(),
        "output_bias": model.output_bias.detach(),
        "column_bias": base.column_bias_C,
    }
    encoder = RowEncoder(base, columns["encoder"], model.hidden_bias.detach(), [], "sigmoid")
    vectors, biases = column_factors(columns, base.scale)
    hidden, row_bias = encoder.encode(csr_of(ratings))
    score = hidden @ vectors.T + row_bias[:, None] + biases + base.mean
    torch.testing.assert_close(model.output.to_ratings(score), dense_prediction(model, ratings).detach())


def test_an_untrained_model_is_the_baseline_and_cold_ones_stay_sane(ratings: sparse.csr_matrix) -> None:
    bias = torch.linspace(-0.5, 0.5, COLUMNS)
    bias[COLD_COLUMN] = 0
    output = OutputLink("identity", 1.0, 5.0, 3.0)
    model = Autorec(
        Baseline(3.0, bias, scale=0.7, row_shrinkage=2.5),
        (HIDDEN,),
        "sigmoid",
        output,
        seed=0,
    )
    facts = model.baseline.row_facts(csr_of(ratings))
    pairs = Csr(
        torch.arange(ROWS + 1, dtype=torch.int32),
        torch.full((ROWS,), COLD_COLUMN, dtype=torch.int32),
        torch.zeros(ROWS),
        COLUMNS,
    )
    predicted = model.predict(csr_of(ratings), facts, pairs)
    torch.testing.assert_close(predicted, 3.0 + facts.bias_R)
    assert predicted[COLD_ROW] == 3.0


def test_starting_values_of_columns_do_not_depend_on_who_draws_them() -> None:
    whole = initial_encoder(3, 0, 2500, 4)
    for first, stop in [(0, 10), (1000, 1100), (1024, 2048), (2047, 2500), (7, 7)]:
        assert torch.equal(initial_encoder(3, first, stop - first, 4), whole[first:stop])
    assert whole.std() == pytest.approx(0.01, rel=0.05)
    assert not torch.equal(initial_encoder(4, 0, 2500, 4), whole)


def test_the_sigmoid_stays_in_the_range_and_is_tangent_to_the_identity_at_the_mean() -> None:
    link = OutputLink("sigmoid", low=0.0, high=10.0, mean=7.3)
    score = torch.tensor([-100.0, 7.3, 7.31, 100.0], dtype=torch.float64)
    rating = link.to_ratings(score)
    assert rating[0] >= 0
    assert rating[3] <= 10
    assert abs(rating[1] - 7.3) < 1e-9
    assert abs((rating[2] - rating[1]) / 0.01 - 1) < 0.01


def test_an_unknown_activation_is_named() -> None:
    with pytest.raises(ConfigError, match="'swish' is unknown; use identity, sigmoid, tanh, relu or elu"):
        activate(torch.zeros(1), "swish")
