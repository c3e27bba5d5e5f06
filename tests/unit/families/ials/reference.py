"""iALS in the plainest way: dense, in float64, row by row by the normal equations."""

from __future__ import annotations

import numpy as np

from recsys_dist.families.ials.objective import Penalty
from recsys_dist.families.targets import Target


def dense_weights(ratings: np.ndarray, target: Target) -> np.ndarray:
    """c of every pair of a matrix with NaN where there is no rating: 0 where there is no interaction."""
    weights = np.zeros(ratings.shape)
    observed = ~np.isnan(ratings)
    weights[observed] = target.weights(ratings[observed].astype(np.float32))
    return weights


def penalties(weights: np.ndarray, penalty: Penalty) -> np.ndarray:
    """lambda of each row."""
    scaled = (weights > 0).sum(1) + penalty.unobserved_weight * weights.shape[1]
    return penalty.regularization * scaled**penalty.frequency_scaling


def solved_rows(weights: np.ndarray, others: np.ndarray, penalty: Penalty) -> np.ndarray:
    """The best vectors of the rows, given those of the columns."""
    gram = penalty.unobserved_weight * others.T @ others
    identity = np.eye(others.shape[1])
    return np.array(
        [
            np.linalg.solve(others.T @ (c[:, None] * others) + gram + weight * identity, c @ others)
            for c, weight in zip(weights, penalties(weights, penalty), strict=True)
        ]
    )


def whole_objective(weights: np.ndarray, users: np.ndarray, items: np.ndarray, penalty: Penalty) -> float:
    """The whole objective."""
    scores = users @ items.T
    squares = (weights * (1 - scores) ** 2).sum() + penalty.unobserved_weight * (scores**2).sum()
    norms = penalties(weights, penalty) @ (users**2).sum(1) + penalties(weights.T, penalty) @ (items**2).sum(1)
    return float(squares + norms)
