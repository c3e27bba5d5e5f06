"""What a scorer may offer to programs that know nothing of this package; `recsys_dist/export/` writes it.

A scorer need offer none of it. Products of vectors, by which an index finds items: `ProductScorer` of scorer.py.

R rows of one side, B users, I items, K factors, H hidden units, N ratings, k weights of an item
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.dataset.manifest import Side


class SigmoidLink(NamedTuple):
    """From scores to ratings: low + width sigmoid(intercept + slope score)."""

    low: float
    width: float
    intercept: float
    slope: float


class SideRows(NamedTuple):
    """Some rows of one side: vectors [R, K] and biases [R], float32."""

    vector_RK: torch.Tensor
    bias_R: torch.Tensor


@dataclass(frozen=True)
class Factorization:
    """Both sides of ratings, or scores, that are f(offset + user bias + item bias + user vector . item vector)."""

    offset: float
    link: SigmoidLink | None
    """f; None for the identity."""
    width: int
    """K."""
    rows: Callable[[Side, int, int], SideRows]
    """Rows start .. stop of a side; row `num_rows` is for unknown users (or items)."""


@runtime_checkable
class FactoredScorer(Protocol):
    """A scorer whose ratings may be products of factors plus biases."""

    @property
    def factorization(self) -> Factorization | None:
        """Both sides; None if ratings are no such products."""


class ItemRows(NamedTuple):
    """Weights of R items, float32 [R, k], and the items that these belong to: [R, k]."""

    weight_Rk: torch.Tensor
    source_Rk: torch.Tensor


@dataclass(frozen=True)
class Neighborhood:
    """Scores that are sums over a user's items: sum of value(rating of source) * weight(item, source)."""

    rows: Callable[[int, int], ItemRows]
    """Items start .. stop."""
    values: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """From ratings [N] to values [N]; a rating of value 0 does not count."""
    popularity_I: torch.Tensor
    """Scores for a user without a rating that counts: float32."""


@runtime_checkable
class NeighborScorer(Protocol):
    """A scorer that weighs the items of a user."""

    @property
    def neighborhood(self) -> Neighborhood:
        """Its weights."""


class OnnxNetwork(NamedTuple):
    """A network as two `onnx.ModelProto`, for any number of users at once.

    encoder     rating float32 [B, I], is_rated bool [B, I]  ->  vector float32 [B, H], bias float32 [B]
    decoder     vector, bias  ->  rating float32 [B, I], clipped to the range of the data
    """

    encoder: Any
    decoder: Any


@runtime_checkable
class NetworkScorer(Protocol):
    """A scorer that folds users in by a network."""

    def onnx_network(self) -> OnnxNetwork:
        """The network. Raises `ConfigError` if this model folds in otherwise, and ImportError without onnx."""
