"""The exact solution: Gram matrix, inverse and weights, on all ranks.

    own users --X^T X, a block column at a time--> sum at its owner
    every pivot: its block column --all-gather--> sweep of own columns
    every block column of the inverse --all-gather--> its largest weights

n items with padding, b width of a block
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.families.ease.training.gram import PartialGram
from recsys_dist.families.ease.training.interactions import Interactions
from recsys_dist.families.ease.training.layout import BlockLayout
from recsys_dist.families.ease.training.penalty import Penalty
from recsys_dist.families.ease.training.symmetric_matrix import SymmetricMatrix
from recsys_dist.families.ease.training.weights import Weights


class ExactSolver:
    """Solves for all items, step by step. All ranks must take the same steps."""

    def __init__(
        self,
        interactions: Interactions,
        penalty: Penalty,
        keep: int | None,
        scale_n: torch.Tensor,
        collectives: Collectives,
    ) -> None:
        num_items = interactions.value_un.shape[1]
        self._interactions, self._penalty, self._collectives = interactions, penalty, collectives
        self._layout = BlockLayout(num_items, collectives.world.size)
        self.weights = Weights(*self._layout.items_of(collectives.world.rank), num_items, keep, scale_n)
        """Of the own items; complete after all steps."""

    def steps(self) -> Iterator[None]:
        """Do the work; pauses after each step, in which all ranks have done the same."""
        matrix = SymmetricMatrix(self._layout, self._collectives)
        gram = PartialGram(self._interactions, self._layout)
        for column in range(self._layout.count):
            self._sum_column(gram, column, matrix)
            yield
        del gram
        for pivot in range(self._layout.count):
            matrix.sweep(pivot)
            yield
        yield from self._extract(matrix)

    def _sum_column(self, gram: PartialGram, column: int, matrix: SymmetricMatrix) -> None:
        """Sum a block column over all ranks, at its owner."""
        layout, rank = self._layout, self._collectives.world.rank
        owner, rows = layout.owner(column), layout.stored_rows(column)
        ranges = [
            (0 if other <= owner else rows, rows if other >= owner else 0) for other in range(layout.num_ranks)
        ]
        total_Rb = self._collectives.sum_scatter_rows(gram.column(column), ranges)
        if owner == rank:
            self._add_penalty(total_Rb, column)
            matrix.put(column, total_Rb.to(self._collectives.world.device, torch.float32))

    def _add_penalty(self, total_Rb: torch.Tensor, column: int) -> None:
        """Add the penalty to the diagonal, and the identity in place of padding."""
        diagonal_b = total_Rb[: self._layout.width].diagonal()
        num_real = min(self._layout.width, self._layout.num_items - column * self._layout.width)
        diagonal_b[:num_real] += self._penalty.of_squares(diagonal_b[:num_real])
        diagonal_b[num_real:] = 1

    def _extract(self, matrix: SymmetricMatrix) -> Iterator[None]:
        """Weights of the own items, a block column of each rank at a time."""
        layout, own_rank = self._layout, self._collectives.world.rank
        columns = [layout.final_columns(rank) for rank in range(layout.num_ranks)]
        for turn in range(max(map(len, columns))):
            weight_Rn: torch.Tensor | None = None
            for rank in range(layout.num_ranks):
                if turn < len(columns[rank]):
                    panel_nb = matrix.panel(columns[rank][turn])
                    if rank == own_rank:
                        weight_Rn = self._weights_of(panel_nb, columns[rank][turn])
            # After all ranks have their columns, so that they work at the same time.
            if weight_Rn is not None:
                self.weights.put(columns[own_rank][turn] * layout.width, weight_Rn)
            yield

    def _weights_of(self, panel_nb: torch.Tensor, column: int) -> torch.Tensor:
        """Weights of the items of a block column, from that column of -P: B_ij = -P_ij / P_jj: [R, n]"""
        num_items, first = self._layout.num_items, column * self._layout.width
        stop = min(first + self._layout.width, num_items)
        weight_Rn = panel_nb[:num_items, : stop - first].T.contiguous()
        own_Rr = weight_Rn[:, first:stop]
        weight_Rn /= -own_Rr.diagonal().clone().unsqueeze(1)
        own_Rr.fill_diagonal_(0)
        return weight_Rn
