"""Scorer of a blend: the weighted sum of its parts.

Parts that are bilinear and have no output function are joined into one bilinear form, so that scoring all items
costs one matrix product for all of them.

B users of a block, I items, N pairs, K width of the joined vectors
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from recsys_dist.dataset.manifest import Side
from recsys_dist.families.bilinear.scorer import BilinearScorer
from recsys_dist.families.blend.facts import BlendFacts
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.model_folder.parts import open_part
from recsys_dist.protocols.portable import Factorization, SideRows
from recsys_dist.protocols.registry import known_family
from recsys_dist.protocols.scorer import ItemVectors, Scorer


@dataclass(frozen=True)
class BlendUsers:
    """B users in the form of each part."""

    of_parts: Sequence[Any]
    count: int


class BlendScorer:
    """Implements the protocol of protocols/scorer.py."""

    uncertainty = None

    def __init__(self, folder: ModelFolder, device: torch.device) -> None:
        facts = folder.facts(BlendFacts)
        self.predicts_ratings = facts.goal == "ratings"
        self._weights, self._intercept, self._device = facts.weights, facts.intercept, device
        self._num_items = folder.num_rows("items")
        self._parts: list[Scorer[Any]] = [
            known_family(part.kind, of=folder.folder.url).scorer(open_part(folder, number, part), device)
            for number, part in enumerate(facts.parts)
        ]
        self._joined = _Joined.of(self._parts, self._weights, self._num_items)

    def known(self, user_B: torch.Tensor) -> BlendUsers:
        """Users by index, in each part."""
        return BlendUsers([part.known(user_B) for part in self._parts], len(user_B))

    def fold_in(self, item_N: torch.Tensor, rating_N: torch.Tensor, is_new: bool) -> BlendUsers:
        """Fold the user into each part."""
        return BlendUsers([part.fold_in(item_N, rating_N, is_new) for part in self._parts], 1)

    def ratings(self, users: BlendUsers, row_N: torch.Tensor, item_N: torch.Tensor) -> torch.Tensor:
        """intercept + sum of weight * rating (or score) of each part: [N]"""

        def of_part(part: Scorer[Any], mine: Any) -> torch.Tensor:
            return part.ratings(mine, row_N, item_N)

        counting = [number for number, weight in enumerate(self._weights) if weight]
        return self._sum(users, of_part, counting) + self._intercept

    def scores(self, users: BlendUsers) -> torch.Tensor:
        """Scores of all items for each user: [B, I]"""
        if self.predicts_ratings and self._joined.others:
            # Scores of a part need only have the order of its ratings, so they cannot be added up.
            return self._all_ratings(users)
        others = self._sum(users, lambda part, mine: part.scores(mine), self._joined.others)
        if not self._joined.numbers:
            return others
        items = self._joined.items
        return torch.addmm(items.bias_I + others, self.user_vectors(users), items.vector_IK.T)

    @property
    def item_vectors(self) -> ItemVectors | None:
        """The item side of the joined form; None if other parts count."""
        return self._joined.items if self._joined.numbers and not self._joined.others else None

    def user_vectors(self, users: BlendUsers) -> torch.Tensor:
        """The vectors of the joined parts, side by side: [B, K]"""
        return self._joined.user_vectors([users.of_parts[number] for number in self._joined.numbers])

    @property
    def factorization(self) -> Factorization | None:
        """The joined parts as one factorization; None if other parts count."""
        return None if self._joined.others else self._joined.factorization(self._intercept)

    def vectors(self, side: Side) -> torch.Tensor | None:
        """The vectors of all parts that have some, weighted by the root of the part's weight: [R, K]"""
        pairs = zip((part.vectors(side) for part in self._parts), self._weights, strict=True)
        weighted = [vector * abs(weight) ** 0.5 for vector, weight in pairs if vector is not None and weight]
        return torch.cat(weighted, 1) if weighted else None

    def _sum(
        self, users: BlendUsers, of_part: Callable[[Scorer[Any], Any], torch.Tensor], numbers: Sequence[int]
    ) -> torch.Tensor:
        total = torch.zeros((), device=self._device)
        for number in numbers:
            total = total + self._weights[number] * of_part(self._parts[number], users.of_parts[number])
        return total

    def _all_ratings(self, users: BlendUsers) -> torch.Tensor:
        item_I = torch.arange(self._num_items, device=self._device)
        score_BI = torch.empty((users.count, self._num_items), dtype=torch.float32, device=self._device)
        for row in range(users.count):
            score_BI[row] = self.ratings(users, torch.full_like(item_I, row), item_I)
        return score_BI


class _Joined:
    """The bilinear parts as one form: vectors side by side, those of items weighted."""

    def __init__(
        self, parts: Sequence[Scorer[Any]], weights: Sequence[float], numbers: Sequence[int], num_items: int
    ) -> None:
        self.numbers = numbers
        """The parts that are joined."""
        self.others = [number for number in range(len(parts)) if number not in numbers and weights[number]]
        """The other parts that count."""
        self._parts = [parts[number] for number in numbers]
        self._forms = [part.form for part in self._parts if isinstance(part, BilinearScorer)]
        self._weights = [weights[number] for number in numbers]
        self.items = ItemVectors(torch.empty(0), torch.empty(0))
        if self._forms:
            self.items = ItemVectors(*self._rows("items", 0, num_items))

    def factorization(self, intercept: float) -> Factorization:
        """The joined form of ratings; items have the weights."""
        offset = intercept + sum(w * form.offset for w, form in zip(self._weights, self._forms, strict=True))
        return Factorization(offset, None, sum(form.items.width for form in self._forms), self._rows)

    def _rows(self, side: Side, start: int, stop: int) -> SideRows:
        """Vectors side by side; the weights are in the vectors of items, and in the biases of both sides."""
        rows = [form.factorization.rows(side, start, stop) for form in self._forms]
        pairs = list(zip(self._weights, rows, strict=True))
        vectors = [w * one.vector_RK if side == "items" else one.vector_RK for w, one in pairs]
        return SideRows(torch.cat(vectors, 1), torch.stack([w * one.bias_R for w, one in pairs]).sum(0))

    @classmethod
    def of(cls, parts: Sequence[Scorer[Any]], weights: Sequence[float], num_items: int) -> _Joined:
        """Join the parts that are bilinear and whose ratings are their scores plus a term of the user."""
        numbers = [
            number
            for number, part in enumerate(parts)
            if isinstance(part, BilinearScorer) and part.form.is_linear and weights[number]
        ]
        return cls(parts, weights, numbers, num_items)

    def user_vectors(self, users: Sequence[Any]) -> torch.Tensor:
        """The users in the form of the joined parts, as vectors side by side: [B, K]"""
        vectors = [
            part.means(mine).vector_BK
            for part, mine in zip(self._parts, users, strict=True)
            if isinstance(part, BilinearScorer)
        ]
        return torch.cat(vectors, 1)
