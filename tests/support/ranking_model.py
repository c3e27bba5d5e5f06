"""A model that ranks items and predicts no ratings: any model whose predictions are taken as mere scores."""

from __future__ import annotations

from typing import Any

from recsys_dist.inference.loading import load_predictor
from recsys_dist.inference.predictor import Predictor


class RankingScorer:
    """The scorer of another model, without ratings and uncertainty."""

    predicts_ratings = False
    uncertainty = None

    def __init__(self, scorer: Any) -> None:
        self._scorer = scorer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scorer, name)


def ranking_predictor(path: str) -> Predictor:
    """The model folder at `path` as a model that ranks."""
    model = load_predictor(path)
    return Predictor(model.catalog, RankingScorer(model.scorer), model.device)
