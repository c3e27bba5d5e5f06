"""The number of factors that the data decides about."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.world import World
from recsys_dist.families.mf.num_factors import num_factors
from recsys_dist.families.mf.settings import MfSettings
from recsys_dist.families.mf.training.trainer import EmTrainer
from tests.support.prepared import small_dataset


@pytest.mark.parametrize(
    ("num_users", "num_items", "num_ratings", "expected"),
    [
        (16_554, 10_506, 85_049, 8),  # MovieTweetings
        (22_000, 232_578, 877_343, 8),
        (943, 1_682, 80_000, 32),  # ML-100K
        (6_040, 3_706, 900_189, 32),  # ML-1M
        (1_000, 1_000, 1_500, 4),
        (1_000, 1_000, 10_000, 16),  # 5 ratings a row
        (10**6, 10**5, 10**9, 32),
    ],
)
def test_it_follows_the_ratings_of_a_row(tmp_path: Path, num_users, num_items, num_ratings, expected):
    counts = {"num_users": num_users, "num_items": num_items, "num_ratings": {"train": num_ratings}}
    manifest = small_dataset(tmp_path / "data").manifest.model_copy(update=counts)
    assert num_factors(MfSettings(), manifest) == expected
    assert num_factors(MfSettings(factors=0), manifest) == 0
    assert num_factors(MfSettings(factors=100), manifest) == 100


def test_the_first_epoch_tells_the_number_where_the_data_decides(tmp_path: Path):
    dataset, alone = small_dataset(tmp_path / "data"), Collectives(World.single("cpu"))
    notes = [
        EmTrainer(dataset, settings, epochs=2, seed=0, collectives=alone).train_epoch(lambda: False).note
        for settings in (MfSettings(noise="shared", constrained="none"), MfSettings(factors=4))
    ]
    assert notes[0] == "32 factors, for 9.62 train ratings of a user or item on average"
    assert notes[1] is None or "train ratings of" not in notes[1]


@pytest.mark.parametrize("factors", [-1, 257, 3.5, "8.5", "all", None])
def test_other_numbers_are_refused(factors):
    with pytest.raises(ValidationError, match="must be auto or a whole number from 0 to 256, not"):
        MfSettings(factors=factors)
