"""The objective of iALS, and the penalty of each row.

    sum over interactions (u, i) of c_ui (1 - p_u . q_i)^2 + w0 x sum over all (u, i) of (p_u . q_i)^2
        + sum over u of lambda_u |p_u|^2 + sum over i of lambda_i |q_i|^2

    lambda_u = lambda (n_u + w0 I)^nu       lambda_i = lambda (n_i + w0 U)^nu

c is the weight of an interaction (families/targets.py), n_u the number of interactions of a row. Weights and
unobserved pairs: Hu, Koren & Volinsky 2008. This form of the objective and its frequency-scaled penalty: Rendle,
Krichene, Zhang & Koren 2022.

R rows of one side
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from recsys_dist.strict_model import StrictModel


class Penalty(StrictModel):
    """The weight of unobserved pairs, and the penalties of rows."""

    unobserved_weight: float = Field(gt=0)
    regularization: float = Field(gt=0)
    frequency_scaling: float = Field(ge=0, le=1)

    def of_rows(self, count_R: NDArray[np.integer], num_others: int) -> NDArray[np.float64]:
        """lambda_u of rows with so many interactions each; `num_others` rows are on the other side: float64 [R]"""
        amount_R: NDArray[np.float64] = count_R.astype(np.float64) + self.unobserved_weight * num_others
        return self.regularization * amount_R**self.frequency_scaling
