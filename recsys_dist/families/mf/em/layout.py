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


def moment_runs(factors: int) -> list[tuple[int, range]]:
    """The packed pairs in the order of the module's docstring, as pairs of one entry with consecutive others."""
    user_bias, item_bias = factors, factors + 1
    among_factors = [(j, range(j, factors)) for j in range(factors)]
    with_item_bias = [(item_bias, range(factors)), (item_bias, range(item_bias, item_bias + 1))]
    return [
        (user_bias, range(factors + 1)),
        *among_factors,
        *with_item_bias,
        (item_bias, range(user_bias, user_bias + 1)),
    ]


def moment_pairs(factors: int) -> list[tuple[int, int]]:
    """The packed pairs (row <= column) of augmented entries, in the same order."""
    runs = moment_runs(factors)
    return [(min(entry, other), max(entry, other)) for entry, others in runs for other in others]


@dataclass(frozen=True)
class PanelRun:
    """Pairs of one augmented entry with consecutive others that lie in one panel."""

    columns: slice
    """Of the panel."""
    entry: int
    others: slice
    own: slice | None
    """Among the T own pairs of the side; None: not own."""


def panel_runs(factors: int, own_slice: slice) -> list[list[PanelRun]]:
    """The runs of each panel."""
    panels: list[list[PanelRun]] = [[] for _ in panel_widths(factors)]
    start = 0
    for entry, others in moment_runs(factors):
        is_own, stop = own_slice.start <= start < own_slice.stop, start + len(others)
        while start < stop:
            panel, first = divmod(start, PANEL_FLOATS)
            size = min(PANEL_FLOATS - first, stop - start)
            other, own = others[len(others) - (stop - start)], start - own_slice.start
            panels[panel].append(
                PanelRun(
                    slice(first, first + size),
                    entry,
                    slice(other, other + size),
                    slice(own, own + size) if is_own else None,
                )
            )
            start += size
    return panels


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
    runs: list[list[PanelRun]]
    """The packed pairs of each panel."""
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
            runs=panel_runs(factors, slice(start, start + len(own_pairs))),
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
    moment_WB = vectors_DB.new_empty((sum(layout.widths), vectors_DB.shape[1]))
    for panel_XB, runs in zip(moment_WB.split(layout.widths), layout.runs, strict=True):
        fill_panel(panel_XB, runs, vectors_DB, covariance_TB)
    return moment_WB


def fill_panel(
    panel_XB: torch.Tensor, runs: list[PanelRun], vectors_DB: torch.Tensor, covariance_TB: torch.Tensor | None
) -> None:
    """Write the second moments of one panel; X its width."""
    for run in runs:
        moment_xB = torch.mul(vectors_DB[run.others], vectors_DB[run.entry], out=panel_XB[run.columns])
        if covariance_TB is not None and run.own is not None:
            moment_xB += covariance_TB[run.own]
    panel_XB[runs[-1].columns.stop :] = 0
