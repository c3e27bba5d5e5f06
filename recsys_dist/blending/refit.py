"""Models trained once more without some of the train ratings, by which the weights of a blend are judged.

What a model says of a rating that it has learnt from tells nothing of its errors: the model that fits its train
ratings best would get the largest weight. So each model is trained again, with its own settings, on a copy of the
dataset in which a twentieth of the train ratings are test ratings.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.config import parse_settings
from recsys_dist.dataset.blocks import Block, write_block
from recsys_dist.dataset.dataset import Dataset, block_name, ratings_name
from recsys_dist.dataset.hashed_file import write_hashed
from recsys_dist.dataset.manifest import MANIFEST, SIDES, SPLITS, RatingStats, Shard, Side, SplitInfo
from recsys_dist.dataset.tables import id_schema, write_ratings, write_table
from recsys_dist.errors import DataError
from recsys_dist.inference.loading import load_predictor
from recsys_dist.inference.predictor import Predictor
from recsys_dist.kernels.keyed_random import keyed_mask
from recsys_dist.merging import merge
from recsys_dist.storage.folder import FileRecord, Folder
from recsys_dist.training.config import CheckpointSettings, TrainConfig
from recsys_dist.training.loop import Outcome
from recsys_dist.training.run import train

STREAM = 11
"""Second seed of the draw, which differs from all other draws."""
SHARE, LEAST_RATINGS, MOST_RATINGS = 0.05, 500, 500_000
"""Share of the train ratings to withhold, and its bounds in ratings."""
MOST_SHARE = 0.2
LAST_EPOCH_ONLY = 1_000_000
Say = Callable[[str], None]
"""Shows one line."""


def train_again(
    models: Sequence[Predictor], dataset: Dataset, device: str, folder: Path, say: Say
) -> tuple[list[Predictor], Dataset]:
    """Train each model again, in `folder`; returns the new models, and the dataset whose test ratings they lack.

    Raises `DataError` if there are too few ratings to withhold.
    """
    reduced = withhold_as_test(dataset, folder / "dataset")
    trained = []
    for number, model in enumerate(models):
        say(f"training {model.catalog.url} again without {reduced.manifest.num_ratings['test']:,} of the ratings")
        trained.append(_train(model, reduced, device, folder / f"run{number}"))
    return trained, reduced


def _train(model: Predictor, dataset: Dataset, device: str, run_dir: Path) -> Predictor:
    source = f"the configuration of {model.catalog.url}"
    config = parse_settings(TrainConfig, model.catalog.folder.manifest.config, source)
    changes = {
        "dataset": dataset.folder.url,
        "run_dir": str(run_dir),
        "start_from": None,
        "device": device,
        "training": config.training.model_copy(update={"trackers": ()}),
        "checkpoint": CheckpointSettings(every=LAST_EPOCH_ONLY),
    }
    if train(config.model_copy(update=changes)) is Outcome.PREEMPTED:
        raise KeyboardInterrupt("stopped while the models of the blend were trained again")
    merge(str(run_dir), str(run_dir / "model"))
    return load_predictor(str(run_dir / "model"), device)


def withhold_as_test(dataset: Dataset, folder: Path) -> Dataset:
    """A copy of the dataset without its held-out ratings; some of its train ratings are the test ratings."""
    num_train = dataset.manifest.num_ratings["train"]
    share = min(max(SHARE * num_train, LEAST_RATINGS), MOST_RATINGS) / num_train
    if share > MOST_SHARE:
        raise DataError(
            f"{dataset.folder.url} has too few ratings to fit weights by; give the weights as --weights 1,0.5"
        )
    return _Copy(dataset, Folder(str(folder)), share).write()


class _Copy:
    """Writes the copy, shard by shard; shards keep their rows."""

    def __init__(self, dataset: Dataset, output: Folder, share: float) -> None:
        self._dataset, self._output, self._share = dataset, output, share
        self._files: list[FileRecord] = []
        self._total = 0.0

    def write(self) -> Dataset:
        manifest, shards = self._dataset.manifest, {side: self._blocks(side) for side in SIDES}
        num_train = sum(shard.num_ratings for shard in shards["users"])
        num_test = manifest.num_ratings["train"] - num_train
        rating, fingerprint = manifest.rating, hashlib.sha256(f"{self._dataset.digest} withheld".encode())
        copied = manifest.model_copy(
            update={
                "num_ratings": {"train": num_train, "valid": 0, "test": num_test},
                "rating": RatingStats(min=rating.min, max=rating.max, mean=self._total / num_train),
                "rows": manifest.rows.model_copy(
                    update={"read": num_train + num_test, "kept": num_train + num_test, "rejected": {}}
                ),
                "split": SplitInfo(rule={"kind": "withheld"}, fingerprint=fingerprint.hexdigest()),
                "grown_from": (),
                "user_shards": tuple(shards["users"]),
                "item_shards": tuple(shards["items"]),
                "files": tuple(self._files),
            }
        )
        write_hashed(self._output, MANIFEST, copied.to_bytes())
        return Dataset.open(self._output.url)

    def _blocks(self, side: Side) -> list[Shard]:
        """Write the blocks of one side, its id table and, along with the users, the ratings of both splits."""
        shards, num_train, total = [], list[NDArray[np.int64]](), 0.0
        for number in range(len(self._dataset.shards(side))):
            block = self._dataset.block(side, number)
            row_N = np.repeat(np.arange(block.start, block.stop), np.diff(block.indptr))
            user_N, item_N = (row_N, block.indices) if side == "users" else (block.indices, row_N)
            place_N = user_N.astype(np.int64) * self._dataset.num_items + item_N
            is_test_N = keyed_mask((0, STREAM), place_N, self._share)
            kept = block.only(~is_test_N)
            self._files.append(write_block(self._output, block_name(side, number), kept))
            shards.append(Shard(start=kept.start, stop=kept.stop, num_ratings=kept.num_ratings))
            num_train.append(np.diff(kept.indptr))
            total += float(kept.values.sum(dtype=np.float64))
            if side == "users":
                self._ratings(number, row_N, block, is_test_N)
        self._total = total
        self._ids(side, np.concatenate(num_train))
        return shards

    def _ratings(self, shard: int, user_N: NDArray[np.int64], block: Block, is_test_N: NDArray[np.bool_]) -> None:
        none_N = np.zeros_like(is_test_N)
        for split, mine_N in zip(SPLITS, (~is_test_N, none_N, is_test_N), strict=True):
            columns = user_N[mine_N], block.indices[mine_N], block.values[mine_N], None
            self._files.append(write_ratings(self._output, ratings_name(split, shard), *columns))

    def _ids(self, side: Side, num_train_R: NDArray[np.int64]) -> None:
        columns = [self._dataset.ids(side), *([self._dataset.titles] if side == "items" else []), num_train_R]
        schema = id_schema(side)
        table = pa.table(columns, schema=schema)
        self._files.append(write_table(self._output, f"{side}.parquet", schema, [table]))
