"""AutoRec (Sedhain et al. 2015) on top of a baseline of row and column biases, without dense rows.

    R rows of the autoencoder, C columns, N observed entries of the rows, H hidden units (with several hidden
    layers, of the first and of the last: hidden_layers.py)

    x_rc = ((r_rc - mean - a_r - b_c) / scale + implicit_input) (N / (R n_r))^length_normalization
                                                   the input, only where r is observed; with `centring: mean`
                                                   (r_rc - mean) / scale, as in the paper except for the units
    h_r  = g(x_r V + hidden_bias)                  the hidden state of a row
    s_rc = mean + a_r + scale (h_r . W_c + d_c)    the score; the prediction is f(s_rc), clipped
    loss = sum of ((f(s) - r) / scale)^2 over the observed entries
           + lambda/2 (|V|^2 + |W|^2) + column_shrinkage |d|^2

Rows are items in an item-AutoRec, users in a user-AutoRec. mean, a and b are the learnt biases of
kernels/biases.py. d starts at b / scale: training starts from the baseline, and a row or column without ratings
keeps it.
`scale`, the standard deviation of the noise around the baseline, makes lambda and the learning rate independent of
the rating scale. `implicit_input` adds the indicators of the rated columns: implicit feedback, since people choose
what they rate, as in the constrained priors of matrix factorization.
`length_normalization` keeps rows with many ratings n_r from saturating hidden units that short rows hardly move.
With a and d as biases, the score is bilinear: h_r . (scale W_c) + a_r + scale d_c + mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from recsys_dist.families.autorec.network.encoder import Baseline, RowFacts, at_entries, entered
from recsys_dist.families.autorec.network.hidden_layers import Layer, hidden_units, initial_layer
from recsys_dist.families.bilinear.link import OutputLink
from recsys_dist.kernels.sampled import (
    ColumnProduct,
    Pattern,
    sampled_entries,
    sampled_product,
    weighted_rows,
)
from recsys_dist.kernels.sparse import Csr

INITIAL_STD = 0.01
"""Standard deviation of the encoder's initial values, as in the paper."""


INITIAL_BLOCK = 1024
"""Columns whose initial values are drawn together."""


@dataclass(frozen=True)
class Batch:
    """A batch of rows in training."""

    pattern: Pattern
    rating_N: torch.Tensor
    """Ratings in the order of `pattern`."""
    row_bias_N: torch.Tensor
    """Row bias at each rating."""
    input_pattern: Pattern
    """Sparsity pattern of the input: `pattern` without the dropped entries."""
    input_N: torch.Tensor
    """Centred ratings in the order of `input_pattern`."""
    hidden_weight_BH: torch.Tensor | None = None
    """Dropout weights of the hidden units; None: 1."""

    @classmethod
    def of_rows(cls, rows: Csr, pattern: Pattern, baseline: Baseline, facts: RowFacts) -> Batch:
        """The batch of `rows`, whose sparsity pattern is `pattern`."""
        inputs = baseline.inputs(rows, facts)
        return cls(pattern, rows.values, at_entries(facts.bias_R, rows), pattern, inputs.values)

    def with_input(self, kept_N: torch.Tensor, pattern: Pattern, weight: float) -> Batch:
        """The batch with only the kept input entries, times `weight`; their sparsity pattern is `pattern`."""
        return replace(self, input_pattern=pattern, input_N=self.input_N[kept_N] * weight)


def _unchanged(tensor_BH: torch.Tensor) -> torch.Tensor:
    return tensor_BH


@dataclass(frozen=True)
class ColumnExchange:
    """All-reduces of the hidden units with sharded columns; the identity on a single rank."""

    sum_forward: Callable[[torch.Tensor], torch.Tensor] = _unchanged
    """Forward: sum the pre-activations [B, H] over ranks. Backward: identity."""
    sum_backward: Callable[[torch.Tensor], torch.Tensor] = _unchanged
    """Forward: identity on the hidden units [B, H]. Backward: sum their gradients over ranks."""


class Autorec(nn.Module):
    """The parameters, in units of the baseline's scale: encoder, decoder [C, H], hidden bias [H], output bias [C].

    The columns are the baseline's columns; the first one is column `first_column` of the data set. The decoder
    starts at zero: training starts from the baseline, and a column without ratings stays there. A tied decoder is
    the encoder.
    """

    def __init__(
        self,
        baseline: Baseline,
        hidden: Sequence[int],
        activation: str,
        output: OutputLink,
        seed: int,
        first_column: int = 0,
        exchange: ColumnExchange | None = None,
        tied: bool = False,
        compute: torch.dtype = torch.float32,
    ) -> None:
        """`compute`: precision of the products between hidden layers in training."""
        super().__init__()
        self.baseline, self.activation, self.output = baseline, activation, output
        self._compute = compute
        self._exchange = exchange or ColumnExchange()
        columns, device = len(baseline.column_bias_C), baseline.column_bias_C.device
        self.encoder = nn.Parameter(initial_encoder(seed, first_column, columns, hidden[0]).to(device))
        self.decoder = self.encoder if tied else nn.Parameter(torch.zeros((columns, hidden[-1]), device=device))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden[0], device=device))
        layers = [
            initial_layer(seed, number, before, units, device)
            for number, (before, units) in enumerate(itertools.pairwise(hidden), 1)
        ]
        self.layer_weights = nn.ParameterList(layer.weight for layer in layers)
        self.layer_biases = nn.ParameterList(layer.bias for layer in layers)
        self.output_bias = nn.Parameter(baseline.column_bias_C / baseline.scale)
        self.later: dict[nn.Parameter, list[ColumnProduct]] | None = None
        """Deferred gradients of encoder and decoder, computed a few columns at a time; None: not deferred."""

    def leave_for_later(self) -> dict[nn.Parameter, list[ColumnProduct]]:
        """Defer gradients of encoder and decoder: backward passes append them to the returned lists."""
        self.later = {table: [] for table in (self.encoder, self.decoder)}
        return self.later

    @property
    def layers(self) -> list[Layer]:
        """The layers between the first and the last hidden units."""
        return [Layer(*pair) for pair in zip(self.layer_weights, self.layer_biases, strict=True)]

    def forward(self, batch: Batch) -> torch.Tensor:
        """Predicted ratings at the entries of the batch, not clipped: [N]."""
        later = self.later or {}
        entered_BH = self._exchange.sum_forward(
            weighted_rows(batch.input_pattern, batch.input_N, self.encoder, later.get(self.encoder))
        )
        hidden_BH = hidden_units(entered_BH, self.hidden_bias, self.layers, self.activation, self._compute)
        if batch.hidden_weight_BH is not None:
            hidden_BH = hidden_BH * batch.hidden_weight_BH
        # s = mean + a_r + scale (h W^T + d)
        score_N = sampled_product(
            batch.pattern,
            self._exchange.sum_backward(hidden_BH),
            self.decoder,
            self.output_bias,
            later.get(self.decoder),
        )
        return self.output.to_ratings(score_N * self.baseline.scale + (batch.row_bias_N + self.baseline.mean))

    @torch.no_grad()
    def predict(self, rows: Csr, facts: RowFacts, pairs: Csr) -> torch.Tensor:
        """Predict the entries of `pairs` (CSR [R, C], values unused) from `rows`, clipped to the range: [N]."""
        entered_RH = self._exchange.sum_forward(entered(self.baseline.inputs(rows, facts), self.encoder))
        hidden_RH = hidden_units(entered_RH, self.hidden_bias, self.layers, self.activation)
        score_N = sampled_entries(pairs.indptr, pairs.indices, hidden_RH, self.decoder)
        score_N += self.output_bias[pairs.indices.long()]
        base_N = at_entries(facts.bias_R, pairs) + self.baseline.mean
        rating_N = self.output.to_ratings(score_N * self.baseline.scale + base_N)
        return rating_N.clamp(self.output.low, self.output.high)


def initial_encoder(seed: int, first: int, num_columns: int, hidden: int) -> torch.Tensor:
    """Initial values [C, H] of the columns from `first` on, keyed by (seed, block of columns). On the CPU."""
    drawn_CH = torch.empty((num_columns, hidden), dtype=torch.float32, device="cpu")
    stop = first + num_columns
    for block in range(first // INITIAL_BLOCK, -(-stop // INITIAL_BLOCK)):
        start = block * INITIAL_BLOCK
        rng = np.random.default_rng([seed, block])
        values = torch.from_numpy(rng.standard_normal((INITIAL_BLOCK, hidden), np.float32))
        low, high = max(first, start), min(stop, start + INITIAL_BLOCK)
        drawn_CH[low - first : high - first] = values[low - start : high - start]
    return drawn_CH.mul_(INITIAL_STD)
