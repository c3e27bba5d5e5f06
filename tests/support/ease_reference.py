"""EASE in a few lines of NumPy: the readable reference."""

from __future__ import annotations

import numpy as np


def ease(
    value_UI: np.ndarray, regularization: float, dropout: float = 0.0, weight_U: np.ndarray | float = 1.0
) -> np.ndarray:
    """B of X ~ X B with diag(B) = 0 (Steck 2019, equation 8), with dropout (Steck 2020): [I, I], in float64"""
    value_UI = value_UI.astype(np.float64)
    gram_II = value_UI.T @ (np.broadcast_to(weight_U, len(value_UI))[:, None] * value_UI)
    penalty_I = regularization + dropout / (1 - dropout) * np.diag(gram_II)
    inverse_II = np.linalg.inv(gram_II + np.diag(penalty_I))
    weight_II = -inverse_II / np.diag(inverse_II)
    np.fill_diagonal(weight_II, 0)
    return weight_II


def random_values(num_users: int, num_items: int, share: float, seed: int = 0) -> np.ndarray:
    """Values of interactions, in 64ths; items by falling popularity: [U, I] float32"""
    rng = np.random.default_rng(seed)
    popularity_I = 2 * share * np.linspace(1, 0.1, num_items)
    value_UI = np.ceil(rng.random((num_users, num_items)) * 64) / 64
    return (value_UI * (rng.random((num_users, num_items)) < popularity_I)).astype(np.float32)
