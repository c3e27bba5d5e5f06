"""Row-wise RMSprop: one mean square for the H parameters of a column, in place of Adam's two moments of each.

    v_c <- b2 v_c + (1 - b2) |G_c|^2 / H
    W_c <- W_c - rate G_c / (sqrt(v_c / (1 - b2^t)) + eps)

with G_c the gradient of column c, the penalty in it, in step t. Tables of embeddings that are too large for two
moments are trained so (row-wise Adagrad, Mudigere et al. 2022, section 4.1.4); this one forgets, and corrects for
its start, as Adam does (Kingma & Ba 2015), and keeps no momentum. Columns differ in how often they are met, which
their mean squares tell; the hidden units of one column do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def rowwise_rmsprop_(
    parameter_CH: torch.Tensor,
    gradient_CH: torch.Tensor,
    step: torch.Tensor,
    group: Mapping[str, Any],
    mean_square_C: torch.Tensor,
) -> None:
    """Move `parameter_CH` and `mean_square_C` in place; what is in `gradient_CH` after it means nothing.

    `group` has lr, betas, eps and weight_decay as those of torch.optim.Adam; `step` [] counts this one.
    """
    decay = group["betas"][1]
    gradient_CH.add_(parameter_CH, alpha=group["weight_decay"])
    square_C = torch.linalg.vector_norm(gradient_CH, dim=1).square_().div_(gradient_CH.shape[1])
    mean_square_C.lerp_(square_C, 1 - decay)
    root_C = (mean_square_C / (1 - decay**step)).sqrt_().add_(group["eps"])
    parameter_CH.addcmul_(gradient_CH, (group["lr"] / root_C).unsqueeze(1), value=-1)
