"""A neural model on ranks: tables by rows take the steps of whole ones; rows come and go between ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from recsys_dist.checkpoint.checkpoint import find_checkpoint
from recsys_dist.checkpoint.compare import content_digests, find_differences
from recsys_dist.distributed.collectives import Collectives
from recsys_dist.distributed.row_parallel import AskedRows
from recsys_dist.storage.folder import Folder
from recsys_dist.training.run import run_training
from tests.families.cases import config_of, train_alone
from tests.support.prepared import small_dataset
from tests.support.ranks import run_ranks

NUM_ROWS = 11
OWNED = [(0, 4), (4, 4), (4, 11)]
"""The rank in the middle has none."""
WANTED = [[0, 3, 4, 10], [], [3, 9]]


def exchange(collectives: Collectives) -> tuple[list[float], list[float]]:
    rank = collectives.world.rank
    start, stop = OWNED[rank]
    own = torch.arange(start, stop, dtype=torch.float32).unsqueeze(1) * torch.tensor([1.0, 100.0])
    asked = AskedRows.of(torch.tensor(WANTED[rank], dtype=torch.int64), OWNED, collectives)
    fetched = asked.fetch(own)
    total = torch.zeros_like(own)
    asked.add(torch.full_like(fetched, 10.0**rank), total)
    return fetched[:, 1].tolist(), total[:, 0].tolist()


def test_rows_come_from_their_owners_and_changes_return_to_them(tmp_path: Path):
    fetched, totals = zip(*run_ranks(exchange, 3, tmp_path), strict=True)
    assert [[value / 100 for value in rows] for rows in fetched] == WANTED
    added = [sum(10.0**rank for rank, wanted in enumerate(WANTED) if row in wanted) for row in range(NUM_ROWS)]
    assert [value for part in totals for value in part] == added


def train_on_ranks(collectives: Collectives, dataset: str, run_dir: str, parallel: str) -> None:
    config = config_of("neumf", dataset, run_dir)
    model = config.model.model_copy(update={"parallel": parallel})
    run_training(config.model_copy(update={"model": model}), collectives, lambda: False)


@pytest.mark.parametrize("world_size", [2, 3])
def test_tables_by_rows_train_as_whole_ones_do(tmp_path: Path, world_size: int):
    dataset = small_dataset(tmp_path / "dataset").folder.url
    train_alone(config_of("neumf", dataset, tmp_path / "alone"))
    for parallel in ("ddp", "sharded"):
        run_ranks(train_on_ranks, world_size, tmp_path, dataset, str(tmp_path / parallel), parallel)
    alone, *others = (find_checkpoint(Folder(str(tmp_path / run))) for run in ("alone", "ddp", "sharded"))
    for other in others:
        differences: list[Any] = find_differences(alone, other, list(content_digests(alone)))
        assert max((one.relative for one in differences if not one.name.startswith("optimizer")), default=0) < 1e-4
