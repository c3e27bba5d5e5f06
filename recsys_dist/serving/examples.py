"""Examples of requests in the OpenAPI description, with ids of the model: they can be sent as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_dist.api.model import Model


def add_examples(description: dict[str, Any], model: Model) -> dict[str, Any]:
    """Put an example into every request of an OpenAPI description; returns the description."""
    paths = description["paths"]
    for path, body in _bodies(model).items():
        paths[path]["post"]["requestBody"]["content"]["application/json"]["example"] = body
    for path, values in _parameters(model).items():
        for parameter in paths[path]["get"]["parameters"]:
            if parameter["name"] in values:
                parameter["example"] = values[parameter["name"]]
    return description


def _bodies(model: Model) -> dict[str, Any]:
    user, items, best = model.user_ids[0], _favourites(model), model.manifest.rating.max
    return {
        "/predict": {"pairs": [{"user_id": user, "item_id": item} for item in items]},
        "/recommend": {"user_ids": [user], "n": 10},
        "/fold-in": {"ratings": [{"item_id": item, "rating": best} for item in items], "n": 10},
    }


def _parameters(model: Model) -> dict[str, dict[str, Any]]:
    item = _favourites(model)[0]
    title = model.titles[int(model.item_ids.find([item])[0])].as_py()
    return {
        "/similar-items": {"item_id": item},
        "/similar-users": {"user_id": model.user_ids[0]},
        "/items": {"title": title or "a title"},
    }


def _favourites(model: Model) -> list[str]:
    """The two items with the most train ratings."""
    counts = model.folder.num_train("items")
    return model.item_ids.take(np.argsort(-counts, kind="stable")[:2])
