"""The hidden layers of an AutoRec after the first one, small and dense.

B rows, H_0 .. H_L units of the layers

h_0 = g(x V + b_0);  h_l = g(h_(l-1) M_l^T + b_l) for l = 1 .. L;  the decoder sees h_L
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from recsys_dist.errors import ConfigError

LAYER_STREAM = 4
"""Third seed next to seed and layer, so that the draws differ from those of the encoder."""


class Layer(NamedTuple):
    """Parameters from one hidden layer to the next: M_l [H_l, H_(l-1)] and b_l [H_l]."""

    weight: torch.Tensor
    bias: torch.Tensor


def hidden_units(
    entered_BH: torch.Tensor,
    bias_H: torch.Tensor,
    layers: Sequence[Layer],
    activation: str,
    compute: torch.dtype = torch.float32,
) -> torch.Tensor:
    """h_L from x V: [B, H_0] -> [B, H_L]; matrix products in `compute`, the rest in the precision of x V."""
    hidden_BH = activate(entered_BH + bias_H, activation)
    for layer in layers:
        hidden_BH = activate(_linear(hidden_BH, layer, compute), activation)
    return hidden_BH


def _linear(hidden_BH: torch.Tensor, layer: Layer, compute: torch.dtype) -> torch.Tensor:
    if compute == hidden_BH.dtype:
        return nn.functional.linear(hidden_BH, layer.weight, layer.bias)
    with torch.autocast(hidden_BH.device.type, compute):
        return nn.functional.linear(hidden_BH, layer.weight, layer.bias).to(hidden_BH.dtype)


def initial_layer(seed: int, number: int, before: int, units: int, device: torch.device) -> Layer:
    """Initial values of layer `number` >= 1: weights of N(0, 1 / before), which preserve the input's scale."""
    drawn = np.random.default_rng([seed, LAYER_STREAM, number]).standard_normal((units, before), np.float32)
    weight = torch.from_numpy(drawn / np.float32(math.sqrt(before))).to(device)
    return Layer(weight, torch.zeros(units, dtype=torch.float32, device=device))


def activate(values: torch.Tensor, activation: str) -> torch.Tensor:
    """The hidden activation g: identity, sigmoid, tanh, relu or elu."""
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
