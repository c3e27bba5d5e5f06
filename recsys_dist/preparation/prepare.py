"""From rating files to a prepared dataset: the sequence of stages.

    input blocks --parse--> runs (rows sorted by user, on disk)
                 --merge, translate--> all items numbered
                 --collect--> user shards: deduplicated, split, train ratings counted (collection.py)
                 --rank items--> write_users --> write_items --> id tables, rejects, manifest

The stages run as Dask tasks; this process holds only counts. The dataset depends on the input rows and on the
settings, not on workers, block size, the order of the paths or how rows are distributed over files. The file name
and line of a row matter only if a pair is rated twice at the same timestamp.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.hashed_file import hash_name
from recsys_dist.dataset.manifest import MANIFEST, Manifest, Shard
from recsys_dist.errors import ConfigError, DataError, StorageError
from recsys_dist.preparation.append import Addition
from recsys_dist.preparation.arrays.scratch import Scratch, narrow
from recsys_dist.preparation.attempt import Attempt
from recsys_dist.preparation.cluster.cluster import Progress, open_cluster
from recsys_dist.preparation.collection import Collection, default_shards
from recsys_dist.preparation.handed_over import NO_TABLES, HandedOver, WrittenTables
from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.output import Output
from recsys_dist.preparation.parsing.input_blocks import InputBlock, find_blocks, find_rating_files
from recsys_dist.preparation.parsing.titles import Titles, find_titles_files, read_titles
from recsys_dist.preparation.publish import manifest_of, write_item_table, write_rejects, write_user_table
from recsys_dist.preparation.reading import Reading
from recsys_dist.preparation.remarks import remarks
from recsys_dist.preparation.same_rules import require_same_rules
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.item_ids import ITEM_IDS, rank_items
from recsys_dist.preparation.shards.merging import RUNS
from recsys_dist.preparation.shards.runs import cut_evenly
from recsys_dist.preparation.shards.writing import ITEM_INDEX, count_items, extents, user_shards_of
from recsys_dist.preparation.tasks import tasks
from recsys_dist.preparation.tasks.journal import Journal
from recsys_dist.process.sigterm import ended_by_sigterm
from recsys_dist.storage.folder import FileRecord, Folder

logger = logging.getLogger(__name__)


def prepare(
    config: PrepareConfig,
    progress: Progress | None = None,
    tell: Callable[[str], None] = logger.warning,
    handed_over: HandedOver = NO_TABLES,
) -> Manifest:
    """Prepare the dataset that `config` describes and return its manifest, which is written last.

    `tell` is called with each remark on the dataset (see remarks.py). `handed_over` holds in-memory tables that
    replace the input files; the paths of `config` are then only their names.

    Raises `ConfigError` or `DataError` with a one-line message. After a signal, a full disk or a power cut,
    another call with the same settings and input resumes.
    """
    with ended_by_sigterm():
        output = Output(config.output, config.overwrite or config.append)
        base = _base(config, output, progress) if config.append else None
        with _inputs(config, handed_over, output) as inputs:
            blocks = find_blocks(config, inputs.ratings)
            files = [*dict.fromkeys(block.file for block in blocks), *inputs.titles]
            attempt = Attempt.of(config, files, base.digest if base is not None else None)
            titles = read_titles(inputs.titles, config.items)
            if output.completed is not None and output.completed.duplicates(attempt):
                return _told(output.url, titles, tell)
            table = titles.table if titles is not None else None
            # The scratch folder is removed after the workers have ended: a running one could still write to it.
            with (
                output.preparing(attempt) as work,
                open_cluster(config.cluster, len(blocks), progress) as cluster,
                output.writing(),
            ):
                reading = Reading(config, Journal(cluster, work.scratch), work.scratch, files, tell)
                if base is not None:
                    manifest = Addition(reading, base, work.dataset, table).run(blocks)
                else:
                    manifest = _Preparation(reading, work.dataset, table).run(blocks)
                output.publish(work, manifest)
        return _told(output.url, titles, tell)


@contextmanager
def _inputs(config: PrepareConfig, handed_over: HandedOver, output: Output) -> Iterator[_Inputs]:
    """The input files; those of in-memory tables exist until the end of the block."""
    with ExitStack() as stack:
        written = WrittenTables()
        if handed_over != NO_TABLES:
            folder = stack.enter_context(output.spilling())
            with output.writing():
                written = handed_over.write(folder)
        yield _Inputs(
            find_rating_files(config) if written.ratings is None else written.ratings,
            find_titles_files(config.items) if written.titles is None else written.titles,
        )


@dataclass(frozen=True)
class _Inputs:
    ratings: list[InputFile]
    titles: list[InputFile]


def _told(url: str, titles: Titles | None, tell: Callable[[str], None]) -> Manifest:
    """Pass all remarks on the dataset to `tell` and return its manifest."""
    dataset = Dataset.open(url)
    for remark in remarks(dataset, titles):
        tell(remark)
    return dataset.manifest


def _base(config: PrepareConfig, output: Output, progress: Progress | None) -> Dataset:
    """The dataset to append to, fully verified: damaged files must not be copied under a new hash."""
    try:
        base = Dataset.open(output.url)
    except DataError as error:
        raise ConfigError(f"append: {error}") from error
    if not base.folder.exists(hash_name(MANIFEST)):
        raise ConfigError(
            f"append: {output.url}/{hash_name(MANIFEST)} is missing, so {MANIFEST} cannot be checked; "
            "restore it, or prepare all files again"
        )
    require_same_rules(config, base.manifest, output.url)
    try:
        base.verify(lambda stage, done, total: progress(stage, done, total, 0) if progress else None)
    except StorageError:
        raise
    except DataError as error:
        raise DataError(f"append: {error}; nothing was appended") from error
    return base


@dataclass(frozen=True)
class _Preparation:
    """Runs all stages for a new dataset."""

    reading: Reading
    output: Folder
    titles: pa.Table | None
    """Item ids and titles; None without titles files."""

    @property
    def config(self) -> PrepareConfig:
        """The settings."""
        return self.reading.config

    @property
    def scratch(self) -> Scratch:
        """The intermediate files that stages pass on."""
        return self.reading.scratch

    def run(self, blocks: list[InputBlock]) -> Manifest:
        infos, runs = self.reading.parse(blocks)
        self.reading.tell_units(infos, runs)
        ticks = runs[0].ticks
        self.scratch.save_json(RUNS, [asdict(run) for run in runs])
        self.reading.merge_items(runs, ITEM_IDS)
        self.reading.number_items(runs)
        collected = Collection(self.config, self.reading.journal, self.scratch, ticks).run(infos)
        self.reading.discard(runs)
        shards = collected.shards
        user_shards = user_shards_of(shards)
        num_train = count_items(self.scratch, len(shards))
        by_popularity, item_index = rank_items(num_train, collected.is_kept)
        self.scratch.save(ITEM_INDEX, {"item_index": narrow(item_index)})
        item_shards = self._item_shards(num_train[by_popularity], user_shards[-1].stop)
        files = [
            write_user_table(self.output, self.scratch, len(shards)),
            write_item_table(self.output, self.scratch, self.titles, by_popularity, num_train),
            *self._write_shards(user_shards, item_shards),
            *write_rejects(self.output, self.scratch, runs, infos, collected.rejects),
        ]
        rejected = sum((info.rejected for info in infos), collected.rejected)
        num_read = sum(info.num_read for info in infos)
        sides = (user_shards, item_shards)
        return manifest_of(self.config, shards, collected.cutoffs, sides, num_read, rejected, files, ticks=ticks)

    def _item_shards(self, num_train: NDArray[np.int64], num_users: int) -> list[Shard]:
        num_shards = self.config.shards.items or default_shards(int(num_train.sum()), num_users)
        cuts = cut_evenly(num_train, num_shards)
        spans = zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
        return [Shard(start=a, stop=b, num_ratings=int(num_train[a:b].sum())) for a, b in spans]

    def _write_shards(self, user_shards: list[Shard], item_shards: list[Shard]) -> list[FileRecord]:
        urls, journal = (self.scratch.folder.url, self.output.url), self.reading.journal
        has_timestamps = self.config.input.columns.timestamp is not None
        users, items = extents(user_shards, item_shards)
        user_calls = [(*urls, number, extent, has_timestamps) for number, extent in enumerate(users)]
        subjects = [f"user shard {number}" for number in range(len(users))]
        written = journal.run("write users", tasks.write_users, user_calls, subjects, tasks.num_written)
        self.scratch.discard(f"shard-{number}.rows" for number in range(len(users)))
        item_calls = [(*urls, number, extent, len(users)) for number, extent in enumerate(items)]
        subjects = [f"item shard {number}" for number in range(len(items))]
        blocks = journal.run("write items", tasks.write_items, item_calls, subjects, lambda file: file.rows)
        return [*(record for records in written for record in records), *blocks]
