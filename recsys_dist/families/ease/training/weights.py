"""The largest weights of each item: rows of the table `items` in checkpoints and model folders.

R items of a range, n items, k weights that an item keeps, M weights that are given
"""

from __future__ import annotations

from collections.abc import Mapping

import torch


class Weights:
    """Weights of the items start .. stop, filled range by range; on the CPU.

    weight [R, k] float32. source [R, k] int32: the items that they belong to, ascending; None if k = n. `scale_n`
    [n] multiplies the weights of each item.
    """

    def __init__(
        self, start: int, stop: int, num_items: int, keep: int | None, scale_n: torch.Tensor | None = None
    ) -> None:
        self.start, self.num_items = start, num_items
        self.keep = num_items if keep is None else min(keep, num_items)
        shape = (stop - start, self.keep)
        self.weight_Rk = torch.zeros(shape, dtype=torch.float32, device="cpu")
        is_whole = self.keep == num_items
        self.source_Rk = None if is_whole else torch.zeros(shape, dtype=torch.int32, device="cpu")
        self._scale_R = None if scale_n is None else scale_n[start:stop]
        self.kept, self.total = 0.0, 0.0
        """Sums of squares: of the weights that are kept, and of all."""

    @classmethod
    def of_rows(cls, start: int, num_items: int, rows: Mapping[str, torch.Tensor]) -> Weights:
        """Weights from their `columns`."""
        weight_Rk = rows["weight"]
        weights = cls(start, start, num_items, weight_Rk.shape[1])
        weights.weight_Rk, weights.source_Rk = weight_Rk, rows.get("source")
        return weights

    def put(self, start: int, weight_RM: torch.Tensor, source_RM: torch.Tensor | None = None) -> None:
        """Keep the largest weights of the items from `start` on; without `source_RM`, M = n in order."""
        rows = slice(start - self.start, start - self.start + len(weight_RM))
        if self._scale_R is not None:
            weight_RM = weight_RM * self._scale_R[rows].to(weight_RM.device).unsqueeze(1)
        self.total += _squares(weight_RM)
        if weight_RM.shape[1] > self.keep:
            place_Rk = weight_RM.abs().topk(self.keep, dim=1, sorted=False).indices.sort(dim=1).values
            weight_RM = weight_RM.gather(1, place_Rk)
            source_RM = place_Rk if source_RM is None else source_RM.gather(1, place_Rk)
        self.kept += _squares(weight_RM)
        self.weight_Rk[rows] = weight_RM
        if self.source_Rk is not None:
            assert source_RM is not None, "weights of all items are kept as a whole"
            self.source_Rk[rows] = source_RM.int()

    def columns(self) -> dict[str, torch.Tensor]:
        """Tensors by name, each [R, k]."""
        sources = {} if self.source_Rk is None else {"source": self.source_Rk}
        return {"weight": self.weight_Rk, **sources}


def _squares(weight_RM: torch.Tensor) -> float:
    return float(weight_RM.square().sum(1).double().sum())
