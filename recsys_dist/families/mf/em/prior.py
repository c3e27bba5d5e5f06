"""The prior of one side of a matrix factorization. n own entries, see layout.py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from recsys_dist.kernels.one_thread import one_thread


@dataclass(frozen=True)
class Prior:
    """Normal(mean, covariance) over the own entries of one side; float64 on the run's device."""

    mean_n: torch.Tensor
    covariance_nn: torch.Tensor

    @classmethod
    def isotropic(cls, num_own: int, variance: float, device: torch.device) -> Prior:
        """Normal(0, variance I)."""
        eye_nn = torch.eye(num_own, dtype=torch.float64, device=device)
        return cls(torch.zeros(num_own, dtype=torch.float64, device=device), variance * eye_nn)

    @cached_property
    def precision_nn(self) -> torch.Tensor:
        """Lambda, the inverse of the covariance."""
        # inv_ex returns non-finite numbers where inv raises; the caller checks its sums once.
        with one_thread():
            precision_nn: torch.Tensor = torch.linalg.inv_ex(self.covariance_nn).inverse
        return precision_nn
