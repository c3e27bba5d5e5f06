"""Small models of every kind, trained or with known numbers, on one dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recsys_dist.blending.blend import blend
from recsys_dist.dataset.dataset import Dataset
from tests.families.cases import config_of, merged, train_alone
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset

TRAINED = ("ials", "ease", "ease-sparse", "neumf")
BLENDS = {
    "blend-ratings": ("ratings", ("mf", "autorec-items")),
    "blend-lists": ("lists", ("mf", "ials")),
    "blend-ease": ("lists", ("mf", "ease")),
}


class Models:
    """Model folders by name, made on first use."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.dataset: Dataset = small_dataset(root / "dataset")

    def __getitem__(self, name: str) -> str:
        path = self._root / name
        if not path.exists():
            self._make(name, path)
        return str(path)

    def _make(self, name: str, path: Path) -> None:
        if name in TRAINED:
            config = config_of(name, self.dataset.folder.url, self._root / f"{name}-run", epochs=2)
            train_alone(config)
            merged(config, path)
        elif name in BLENDS:
            goal, parts = BLENDS[name]
            blend([self[part] for part in parts], self.dataset.folder.url, str(path), goal, [0.7, 0.4])
        elif name.startswith("mf"):
            kinds: dict[str, Any] = {"noise": "both", "constrained": "both"} if name == "mf-noise" else {}
            factors = 0 if name == "mf-0" else 3
            write_merged(mf_run(self.dataset, factors=factors, **kinds), self.dataset, path)
        else:
            _, side, *rest = name.split("-")
            settings: dict[str, Any] = {"output_activation": "sigmoid"} if "sigmoid" in rest else {}
            write_merged(autorec_run(self.dataset, side, **settings), self.dataset, path)


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(tmp_path_factory.mktemp("models"))
