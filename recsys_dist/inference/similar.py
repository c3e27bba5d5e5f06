"""Similar items or users: by the cosine of their factor vectors, without biases.

R rows of one side, K width of the vectors
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.inference.top import require_list_length, top_items
from recsys_dist.plain_text import text_table


class Similar(NamedTuple):
    """The most similar rows, best first; titles are those of items, None if unknown."""

    ids: list[str]
    titles: list[str | None]
    cosines: NDArray[np.float32]

    def __repr__(self) -> str:
        is_titled = any(title is not None for title in self.titles)
        cells = [
            [f"{cosine:.4f}", one, *([title or ""] if is_titled else [])]
            for one, title, cosine in zip(self.ids, self.titles, self.cosines.tolist(), strict=True)
        ]
        head = f"{len(self.ids)} most similar"
        return f"{head}\n{text_table([['cosine', 'id', *['title'] * is_titled], *cells], numbers=1)}"


def nearest(
    vector_RK: torch.Tensor, is_cold_R: NDArray[np.bool_], row: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The n rows with the highest cosine, without the row itself and cold rows.

    Ties are broken by row. Raises `ConfigError` if n is not a whole number, 1 or more.
    """
    require_list_length(n)
    # The cosine with a zero vector is 0.
    norm_R = vector_RK.norm(dim=1).clamp_min_(torch.finfo(vector_RK.dtype).tiny)
    cosine_R = (vector_RK @ (vector_RK[row] / norm_R[row])) / norm_R
    cosine_R[torch.from_numpy(is_cold_R).to(cosine_R.device)] = -torch.inf
    cosine_R[row] = -torch.inf
    row_1n, cosine_1n = top_items(cosine_R.unsqueeze(0), n)
    is_wanted_n = ~cosine_1n[0].isneginf()
    cosines: NDArray[np.float32] = cosine_1n[0][is_wanted_n].clamp(-1, 1).cpu().numpy()
    return row_1n[0][is_wanted_n].cpu().numpy(), cosines
