"""The encoder of an AutoRec: baseline, inputs and hidden states of rows.

R rows, C columns, N entries, H hidden units. Formulas: see network.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from recsys_dist.families.autorec.network.hidden_layers import Layer, hidden_units
from recsys_dist.kernels.biases import Biases
from recsys_dist.kernels.sparse import Csr


@dataclass(frozen=True)
class InputForm:
    """Form of the encoder's input; see network.py."""

    centring: str = "biases"
    """Subtract mean and biases (`biases`), or only the mean (`mean`)."""
    implicit_input: float = 0.0
    length_normalization: float = 0.0
    mean_length: float = 1.0
    """N / R, the average number of ratings per row."""


class RowFacts(NamedTuple):
    """Biases [R] and numbers of ratings [R] of R whole rows, for their inputs and predictions."""

    bias_R: torch.Tensor
    length_R: torch.Tensor

    def at(self, row_B: torch.Tensor | slice) -> RowFacts:
        """The facts of some rows."""
        return RowFacts(self.bias_R[row_B], self.length_R[row_B])


@dataclass(frozen=True)
class Baseline:
    """Baseline of an AutoRec: the mean, column biases [C], and the shrinkage of row biases."""

    mean: float
    column_bias_C: torch.Tensor
    scale: float
    row_shrinkage: float
    form: InputForm = InputForm()

    @classmethod
    def of(cls, biases: Biases, form: InputForm, device: torch.device) -> Baseline:
        """Convert learnt biases to float32 on `device`."""
        column_bias_C = torch.from_numpy(biases.column_bias_C.astype(np.float32)).to(device)
        return cls(biases.mean, column_bias_C, biases.noise_std, biases.row_shrinkage, form)

    def row_facts(self, rows: Csr) -> RowFacts:
        """Biases and lengths of whole rows."""
        length_R = rows.indptr.diff()
        # a_r = sum over c of (r_rc - mean - b_c) / (n_r + row_shrinkage)
        bias_R = _segment_sum(self._left(rows), rows.indptr) / (length_R + self.row_shrinkage)
        return RowFacts(bias_R, length_R.to(bias_R.dtype))

    def inputs(self, rows: Csr, facts: RowFacts) -> Csr:
        """The encoder's input: centred ratings in units of `scale`, in the given form."""
        if self.form.centring == "mean":
            centred_N = rows.values - self.mean
        else:
            centred_N = self._left(rows) - at_entries(facts.bias_R, rows)
        input_N = centred_N / self.scale + self.form.implicit_input
        if self.form.length_normalization:
            weight_R = (self.form.mean_length / facts.length_R.clamp_min(1)) ** self.form.length_normalization
            input_N *= at_entries(weight_R, rows)
        return Csr(rows.indptr, rows.indices, input_N, rows.num_columns)

    def columns(self, start: int, stop: int) -> Baseline:
        """The baseline of columns start .. stop."""
        return replace(self, column_bias_C=self.column_bias_C[start:stop])

    def _left(self, rows: Csr) -> torch.Tensor:
        return rows.values - self.mean - self.column_bias_C[rows.indices.long()]


@dataclass(frozen=True)
class RowEncoder:
    """Encodes the ratings of any row, seen in training or not, as hidden state and bias."""

    baseline: Baseline
    encoder_CH: torch.Tensor
    hidden_bias_H: torch.Tensor
    layers: Sequence[Layer]
    activation: str

    def encode(self, rows: Csr) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden states [R, H] and biases [R] of rows of raw ratings."""
        facts = self.baseline.row_facts(rows)
        entered_RH = entered(self.baseline.inputs(rows, facts), self.encoder_CH)
        return hidden_units(entered_RH, self.hidden_bias_H, self.layers, self.activation), facts.bias_R


def entered(inputs: Csr, encoder_CH: torch.Tensor) -> torch.Tensor:
    """Pre-activations x V: [R, H]"""
    if inputs.num_entries == 0:
        return encoder_CH.new_zeros((inputs.num_rows, encoder_CH.shape[1]))
    return inputs.weighted_sum(encoder_CH)


def column_factors(columns: Mapping[str, torch.Tensor], scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors [n, H] and biases [n] of columns, in rating units, from n rows of a saved table `columns`.

    score = mean + row_bias + column_bias + hidden . column_vector
    """
    # A tied model saves no decoder.
    return columns.get("decoder", columns["encoder"]) * scale, columns["output_bias"] * scale


def at_entries(value_R: torch.Tensor, rows: Csr) -> torch.Tensor:
    """Expand a value per row to its entries: [R] -> [N]"""
    return value_R.repeat_interleave(rows.indptr.diff(), output_size=rows.num_entries)


def _segment_sum(values_N: torch.Tensor, indptr: torch.Tensor) -> torch.Tensor:
    """Sum of each row's entries: [N] -> [R], in the order of the entries."""
    if len(values_N) == 0:
        return values_N.new_zeros(len(indptr) - 1)
    return torch.segment_reduce(values_N, "sum", offsets=indptr.long())
