"""Row-wise RMSprop: one mean square for the H parameters of a column, instead of Adam's two moments per parameter.

    v_c <- b2 v_c + (1 - b2) |G_c|^2 / H
    W_c <- W_c - rate G_c / (sqrt(v_c / (1 - b2^t)) + eps)

where G_c is the gradient of column c in step t, including the penalty. Similar to row-wise Adagrad for large
embedding tables (Mudigere et al. 2022, section 4.1.4), but with an exponential average and bias correction as in
Adam (Kingma & Ba 2015), and without momentum. One mean square per column suffices: columns differ in their numbers
of ratings, the hidden units of a column do not.
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
    """Update `parameter_CH` and `mean_square_C` in place; overwrites `gradient_CH`.

    `group` has lr, betas, eps and weight_decay as in torch.optim.Adam; `step` [] includes this step.
    """
    decay = group["betas"][1]
    gradient_CH.add_(parameter_CH, alpha=group["weight_decay"])
    square_C = torch.linalg.vector_norm(gradient_CH, dim=1).square_().div_(gradient_CH.shape[1])
    mean_square_C.lerp_(square_C, 1 - decay)
    root_C = (mean_square_C / (1 - decay**step)).sqrt_().add_(group["eps"])
    parameter_CH.addcmul_(gradient_CH, (group["lr"] / root_C).unsqueeze(1), value=-1)
