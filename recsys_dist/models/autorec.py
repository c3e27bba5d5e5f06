"""AutoRec (Sedhain et al. 2015) around a baseline of row and column biases, never with a dense row.

    R rows of the autoencoder, C columns, N observed entries of the rows, H hidden units

    x_rc = (r_rc - mean - a_r - b_c) / scale       the input, only where r is observed
    h_r  = g(x_r V + hidden_bias)                  the hidden state of a row
    s_rc = mean + a_r + scale (h_r . W_c + d_c)    the score; the prediction is f(s_rc), clipped
    loss = sum of ((f(s) - r) / scale)^2 over the observed entries
           + lambda/2 (|V|^2 + |W|^2) + column_shrinkage |d|^2

Rows are items in an item-AutoRec, users in a user-AutoRec. mean, a and b are the learnt biases of biases.py; d
starts at b / scale, so that training starts from the baseline and a column or row without ratings keeps it.
`scale`, the standard deviation of the noise around the baseline, makes lambda and the learning rate mean the same
on every rating scale. With a and d as biases the score is bilinear: h_r . (scale W_c) + a_r + scale d_c + mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from recsys_dist.errors import ConfigError
from recsys_dist.kernels.sampled import Pattern, sampled_entries, sampled_product, weighted_rows
from recsys_dist.kernels.sparse import Csr
from recsys_dist.models.biases import Biases

INITIAL_STD = 0.01
"""Of the encoder's starting values, as in the paper."""


@dataclass(frozen=True)
class Baseline:
    """The biases under an AutoRec: mean, those of the columns [C], and how the bias of a row follows from them."""

    mean: float
    column_bias_C: torch.Tensor
    scale: float
    row_shrinkage: float

    @classmethod
    def of(cls, biases: Biases, device: torch.device) -> Baseline:
        """In float32 on `device`."""
        column_bias_C = torch.from_numpy(biases.column_bias_C.astype(np.float32)).to(device)
        return cls(biases.mean, column_bias_C, biases.noise_std, biases.row_shrinkage)

    def of_rows(self, rows: Csr) -> tuple[torch.Tensor, Csr]:
        """The biases of rows [R] and what they leave of the ratings, in units of `scale`."""
        # a_r = sum over c of (r_rc - mean - b_c) / (n_r + row_shrinkage)
        left_N = rows.values - self.mean - self.column_bias_C[rows.indices.long()]
        count_R = rows.indptr.diff()
        row_bias_R = _segment_sum(left_N, rows.indptr) / (count_R + self.row_shrinkage)
        residual_N = (left_N - row_bias_R.repeat_interleave(count_R, output_size=len(left_N))) / self.scale
        return row_bias_R, Csr(rows.indptr, rows.indices, residual_N, rows.num_columns)


@dataclass(frozen=True)
class Batch:
    """Rows in training: ratings, residuals (both [N] in the pattern's order) and row biases [B]."""

    pattern: Pattern
    rating_N: torch.Tensor
    residual_N: torch.Tensor
    row_bias_N: torch.Tensor

    @classmethod
    def of_rows(cls, rows: Csr, pattern: Pattern, baseline: Baseline) -> Batch:
        """The batch of `rows`, whose entries lie at `pattern`."""
        row_bias_R, residuals = baseline.of_rows(rows)
        row_bias_N = row_bias_R.repeat_interleave(rows.indptr.diff(), output_size=rows.num_entries)
        return cls(pattern, rows.values, residuals.values, row_bias_N)


class Autorec(nn.Module):
    """The parameters, in units of the baseline's scale: encoder, decoder [C, H], hidden bias [H], output bias [C].

    The decoder starts at zero: training starts from the baseline, and a column without ratings stays there.
    """

    def __init__(
        self, baseline: Baseline, hidden: int, activation: str, output: OutputLink, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.baseline, self.activation, self.output = baseline, activation, output
        columns, device = len(baseline.column_bias_C), baseline.column_bias_C.device
        self.encoder = nn.Parameter(_normal(columns, hidden, generator).to(device))
        self.decoder = nn.Parameter(torch.zeros((columns, hidden), device=device))
        self.hidden_bias = nn.Parameter(torch.zeros(hidden, device=device))
        self.output_bias = nn.Parameter(baseline.column_bias_C / baseline.scale)

    def forward(self, batch: Batch) -> torch.Tensor:
        """Predicted ratings at the entries of the batch, not clipped: [N]."""
        hidden_BH = weighted_rows(batch.pattern, batch.residual_N, self.encoder) + self.hidden_bias
        # s = mean + a_r + scale (h W^T + d)
        score_N = sampled_product(
            batch.pattern, activate(hidden_BH, self.activation), self.decoder, self.output_bias
        )
        return self.output.to_ratings(score_N * self.baseline.scale + (batch.row_bias_N + self.baseline.mean))

    @torch.no_grad()
    def predict(self, rows: Csr, pairs_indptr: torch.Tensor, pairs_indices: torch.Tensor) -> torch.Tensor:
        """Ratings of the columns `pairs_indices` for each of `rows` (CSR [R, C]), clipped to the range."""
        hidden_RH, row_bias_R = self.row_encoder().encode(rows)
        score_N = sampled_entries(pairs_indptr, pairs_indices, hidden_RH, self.decoder)
        score_N += self.output_bias[pairs_indices.long()]
        base_N = row_bias_R.repeat_interleave(pairs_indptr.diff(), output_size=len(pairs_indices))
        rating_N = self.output.to_ratings(score_N * self.baseline.scale + (base_N + self.baseline.mean))
        return rating_N.clamp(self.output.low, self.output.high)

    def row_encoder(self) -> RowEncoder:
        """The half that reads rows, sharing the parameters."""
        return RowEncoder(self.baseline, self.encoder, self.hidden_bias, self.activation)


@dataclass(frozen=True)
class RowEncoder:
    """What turns the ratings of any row, seen in training or not, into its hidden state and bias."""

    baseline: Baseline
    encoder_CH: torch.Tensor
    hidden_bias_H: torch.Tensor
    activation: str

    @classmethod
    def from_state(
        cls,
        columns: Mapping[str, torch.Tensor],
        hidden: Mapping[str, torch.Tensor],
        values: Mapping[str, object],
        activation: str,
    ) -> RowEncoder:
        """From the tables `columns` (all rows) and `hidden`, and the values, of a saved state."""
        baseline = Baseline(
            float(str(values["mean"])),
            columns["column_bias"],
            float(str(values["scale"])),
            float(str(values["row_shrinkage"])),
        )
        return cls(baseline, columns["encoder"], hidden["bias"], activation)

    def encode(self, rows: Csr) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [R, H] and biases [R] of rows of plain ratings."""
        row_bias_R, residuals = self.baseline.of_rows(rows)
        if rows.num_entries == 0:
            hidden_RH = self.hidden_bias_H.expand(rows.num_rows, -1)
        else:
            hidden_RH = residuals.weighted_sum(self.encoder_CH) + self.hidden_bias_H
        return activate(hidden_RH, self.activation), row_bias_R


def column_factors(columns: Mapping[str, torch.Tensor], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors [n, H] and biases [n] of columns, in rating units, from rows of a saved table `columns`.

    score = mean + row_bias + column_bias + hidden . column_vector
    """
    return columns["decoder"] * scale, columns["output_bias"] * scale


@dataclass(frozen=True)
class OutputLink:
    """f: from scores to ratings. `identity`, or a `sigmoid` that stays within the rating range.

    The sigmoid passes through (mean, mean) with slope 1, so that near the mean both agree and a score keeps its
    units: f(s) = low + (high - low) sigmoid(logit(p) + (s - mean) / ((high - low) p (1 - p))), with p the place of
    the mean in the range.
    """

    kind: str
    low: float
    high: float
    mean: float

    def to_ratings(self, score: torch.Tensor) -> torch.Tensor:
        """f(score), of any shape; not clipped."""
        width = self.high - self.low
        if self.kind == "identity" or width == 0:
            return score
        # All ratings at one end of the range leave no slope to match.
        place = min(max((self.mean - self.low) / width, 1e-3), 1 - 1e-3)
        slope = 1 / (width * place * (1 - place))
        return self.low + width * torch.sigmoid(math.log(place / (1 - place)) + (score - self.mean) * slope)


def activate(values: torch.Tensor, activation: str) -> torch.Tensor:
    """g of the hidden units: identity, sigmoid, tanh, relu or elu."""
    match activation:
        case "identity":
            return values
        case "sigmoid":
            return torch.sigmoid(values)
        case "tanh":
            return torch.tanh(values)
        case "relu":
            return torch.relu(values)
        case "elu":
            return nn.functional.elu(values)
        case _:
            raise ConfigError(
                f"hidden_activation: {activation!r} is unknown; use identity, sigmoid, tanh, relu or elu"
            )


def _normal(columns: int, hidden: int, generator: torch.Generator) -> torch.Tensor:
    """Drawn on the CPU, so that every device starts from the same numbers."""
    drawn = torch.empty((columns, hidden), dtype=torch.float32, device="cpu")
    return drawn.normal_(0.0, INITIAL_STD, generator=generator)


def _segment_sum(values_N: torch.Tensor, indptr: torch.Tensor) -> torch.Tensor:
    """Sum of each row's entries: [N] -> [R], in the order of the entries."""
    if len(values_N) == 0:
        return values_N.new_zeros(len(indptr) - 1)
    return torch.segment_reduce(values_N, "sum", offsets=indptr.long())
