"""Similar items or users: by the cosine of their factor vectors, without biases, shrunk by the ratings behind it.

    similarity of a row with n train ratings = cosine n / (n + 20)

The factors of items with one rating each are those of the user who rated them: their cosines are high and say
nothing. The shrinkage is that of the correlations of Koren (2008, section 2.1), for one row in place of a pair.

R rows of one side, K width of the vectors
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recsys_dist.inference.top import require_list_length, top_items
from recsys_dist.plain_text import text_table

SHRINKAGE = 20.0
"""Train ratings of a row whose similarity is half of its cosine."""


class Similar(NamedTuple):
    """The most similar rows, best first; titles are those of items, None if unknown."""

    ids: list[str]
    titles: list[str | None]
    similarities: NDArray[np.float32]

    def __repr__(self) -> str:
        is_titled = any(title is not None for title in self.titles)
        cells = [
            [f"{similarity:.4f}", one, *([title or ""] if is_titled else [])]
            for one, title, similarity in zip(self.ids, self.titles, self.similarities.tolist(), strict=True)
        ]
        head = f"{len(self.ids)} most similar"
        return f"{head}\n{text_table([['similarity', 'id', *['title'] * is_titled], *cells], numbers=1)}"


def nearest(
    vector_RK: torch.Tensor, num_train_R: NDArray[np.int64], row: int, n: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The n rows most similar to one, without that row and those without train ratings.

    `num_train` are the numbers of train ratings. Ties are broken by row. Raises `ConfigError` if n is
    not a whole number, 1 or more.
    """
    require_list_length(n)
    # The cosine with a zero vector is 0.
    norm_R = vector_RK.norm(dim=1).clamp_min_(torch.finfo(vector_RK.dtype).tiny)
    cosine_R = (vector_RK @ (vector_RK[row] / norm_R[row])) / norm_R
    count_R = torch.from_numpy(num_train_R.astype(np.float64)).to(cosine_R)
    similarity_R = cosine_R.clamp(-1, 1) * (count_R / (count_R + SHRINKAGE))
    similarity_R[count_R == 0] = -torch.inf
    similarity_R[row] = -torch.inf
    row_1n, similarity_1n = top_items(similarity_R.unsqueeze(0), n)
    is_wanted_n = ~similarity_1n[0].isneginf()
    similarities: NDArray[np.float32] = similarity_1n[0][is_wanted_n].cpu().numpy()
    return row_1n[0][is_wanted_n].cpu().numpy(), similarities
