"""Memory layout of a matrix factorization: augmented vectors and their packed second moments.

    r_ui ~ Normal(mu + b_u + c_i + p_u . q_i, sigma^2) = Normal(mu + a_u . z_i, sigma^2)
    a_u = (p_u, b_u, 1)      a user's own entries are x_u = (p_u, b_u); the last entry is always 1
    z_i = (q_i, 1, c_i)      an item's own entries are y_i = (q_i, c_i); entry K is always 1

    K factors, n = K + 1 own entries, D = K + 2 augmented entries, T = n (n + 1) / 2 pairs of own entries,
    P = D (D + 1) / 2 pairs of augmented entries, W = P rounded up to whole cache lines, B rows of a batch

The pairs are packed so that the own pairs of each side form one slice:

    (k, K) (K, K) | (j, k) with j <= k < K | (k, K+1) (K+1, K+1) | (K, K+1)
    <---- own pairs of users ------------>
                    <--------- own pairs of items ------------->

The two sides differ only in the position of their constant and in their slice, so both share the rest of the code.
Inside the kernels the batch is the last dimension; tables to gather from are stored row by row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from recsys_dist.dataset.manifest import Side

CACHE_LINE_FLOATS = 16
PANEL_FLOATS = 64
"""Columns per panel: 12 MB for 45,000 items, which fits a cache (measured for 48 to 176 columns at 17,000 to
167,000 items: narrow panels gain more with more items)."""


def packed_size(n: int) -> int:
    """Entries of the upper triangle of an n x n matrix."""
    return n * (n + 1) // 2


def panel_widths(factors: int) -> list[int]:
    """Columns of each panel of a table of second moments; they add up to W.

    A gather is twice as fast if rows start on a cache line, and faster still over narrow panels.
    """
    lines = -(-packed_size(factors + 2) // CACHE_LINE_FLOATS)
    width = lines * CACHE_LINE_FLOATS
    return [min(PANEL_FLOATS, width - start) for start in range(0, width, PANEL_FLOATS)]


def moment_pairs(factors: int) -> list[tuple[int, int]]:
    """The packed pairs (row <= column) of augmented entries, in the order of the module's docstring."""
    user_bias, item_bias = factors, factors + 1
    with_user_bias = [(k, user_bias) for k in range(factors + 1)]
    among_factors = [(j, k) for j in range(factors) for k in range(j, factors)]
    with_item_bias = [(k, item_bias) for k in (*range(factors), item_bias)]
    return [*with_user_bias, *among_factors, *with_item_bias, (user_bias, item_bias)]


@dataclass(frozen=True)
class PanelLayout:
    """Index tensors of one side, on the run's device."""

    num_own: int
    """n"""
    widths: list[int]
    """Columns per panel; they sum to W."""
    own_slice: slice
    """The T own pairs among the P packed pairs."""
    own_n: torch.Tensor
    """Positions of the own entries in the augmented vector."""
    bordered_pairs_nm: torch.Tensor
    """Packed positions of the pairs of each own entry with all own entries and this side's constant: [n, m],
    m = n + 1, flattened row by row."""
    pair_rows_P: torch.Tensor
    pair_columns_P: torch.Tensor
    """Augmented positions of each packed pair."""
    pair_counts_W1: torch.Tensor
    """Occurrences of each packed pair in the full matrix: 1 on the diagonal, 2 off it, 0 for padding; float32."""
    own_rows_T: torch.Tensor
    own_columns_T: torch.Tensor
    """Own positions of each own pair, in packed order."""
    own_entries_T: torch.Tensor
    """Position of each own pair in a matrix [n, n + 1] flattened row by row."""
    triangle_T: torch.Tensor
    """Position in the own slice of each upper-triangle entry, read row by row: the order on disk."""

    @property
    def num_factors(self) -> int:
        """K"""
        return self.num_own - 1

    @classmethod
    def of(cls, side: Side, factors: int, device: torch.device) -> PanelLayout:
        """The layout of users or items with K factors."""
        pairs = moment_pairs(factors)
        place = {pair: index for index, pair in enumerate(pairs)}
        constant = factors + 1 if side == "users" else factors
        own = [position for position in range(factors + 2) if position != constant]
        start = 0 if side == "users" else factors + 1
        own_pairs = pairs[start : start + packed_size(factors + 1)]
        own_row = {position: row for row, position in enumerate(own)}
        own_place = {pair: index for index, pair in enumerate(own_pairs)}
        triangle = [(i, j) for row, i in enumerate(own) for j in own[row:]]
        counts = [1 if row == column else 2 for row, column in pairs]
        padding = [0] * (sum(panel_widths(factors)) - len(pairs))

        def tensor(values: object) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        return cls(
            num_own=factors + 1,
            widths=panel_widths(factors),
            own_slice=slice(start, start + len(own_pairs)),
            own_n=tensor(own),
            bordered_pairs_nm=tensor([place[min(i, j), max(i, j)] for i in own for j in (*own, constant)]),
            pair_rows_P=tensor([row for row, _ in pairs]),
            pair_columns_P=tensor([column for _, column in pairs]),
            pair_counts_W1=tensor([*counts, *padding]).float().unsqueeze(1),
            own_rows_T=tensor([own_row[row] for row, _ in own_pairs]),
            own_columns_T=tensor([own_row[column] for _, column in own_pairs]),
            own_entries_T=tensor([own_row[row] * (len(own) + 1) + own_row[column] for row, column in own_pairs]),
            triangle_T=tensor([own_place[pair] for pair in triangle]),
        )


def second_moments(
    vectors_DB: torch.Tensor, covariance_TB: torch.Tensor | None, layout: PanelLayout
) -> torch.Tensor:
    """E[z z^T] = E[z] E[z]^T + Cov(z), packed and padded: [W, B]. Without a covariance, of point estimates."""
    moment_WB = vectors_DB.new_zeros((sum(layout.widths), vectors_DB.shape[1]))
    moment_PB = moment_WB[: len(layout.pair_rows_P)]
    # index_select copies whole rows, which is several times faster than indexing with a tensor.
    rows_PB = vectors_DB.index_select(0, layout.pair_rows_P)
    torch.mul(rows_PB, vectors_DB.index_select(0, layout.pair_columns_P), out=moment_PB)
    if covariance_TB is not None:
        moment_PB[layout.own_slice] += covariance_TB
    return moment_WB
