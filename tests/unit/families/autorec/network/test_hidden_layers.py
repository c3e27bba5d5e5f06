"""The layers between the hidden units: what computing in bfloat16 changes, and what it leaves alone."""

from __future__ import annotations

import torch

from recsys_dist.families.autorec.network.hidden_layers import Layer, hidden_units, initial_layer

CPU = torch.device("cpu")
ENTERED_BH = torch.arange(64 * 20, dtype=torch.float32).view(64, 20).sin()


def layers() -> list[Layer]:
    drawn = (initial_layer(0, number, *units, CPU) for number, units in ((1, (20, 12)), (2, (12, 16))))
    return [Layer(layer.weight.requires_grad_(), layer.bias.requires_grad_()) for layer in drawn]


def gradients(compute: torch.dtype) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Hidden units, and the gradients of all layers of their sum of squares."""
    own = layers()
    hidden_BH = hidden_units(ENTERED_BH, torch.zeros(20), own, "tanh", compute)
    hidden_BH.square().sum().backward()
    return hidden_BH.detach(), [part.grad for layer in own for part in layer if part.grad is not None]


def test_bfloat16_rounds_products_and_keeps_the_precision_of_all_else() -> None:
    (exact_BH, exact), (rounded_BH, rounded) = gradients(torch.float32), gradients(torch.bfloat16)
    assert rounded_BH.dtype == torch.float32
    assert 1e-4 < (rounded_BH - exact_BH).abs().max() < 2e-2
    # What leaves the last layer was not rounded on its way through the activation.
    assert not torch.equal(rounded_BH, rounded_BH.bfloat16().float())
    assert len(rounded) == 4
    for gradient, reference in zip(rounded, exact, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - reference).norm() < 0.05 * reference.norm()
