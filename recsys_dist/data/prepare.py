"""From rating files to a prepared dataset: the stages, what passes between them, and the manifest at the end.

    input blocks --parse--> runs (rows sorted by user, on disk)
                 --merge, translate--> all items numbered
                 --collect--> user shards: repeats settled, split drawn, train ratings counted (collection.py)
                 --rank items--> write_users --> write_items --> id tables, rejects, manifest

The stages are Dask tasks; this process holds counts only. What comes out depends on the rows of the input and on
the settings that say what to make of them: not on workers, block size, the order in which files are named, or how
rows are packed into them. Only where a pair repeats at one timestamp does it matter which file, by full name, and
which line a row stands in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_dist.data import tasks
from recsys_dist.data.acceptance import require_rows
from recsys_dist.data.assemble import ITEM_INDEX, Extent
from recsys_dist.data.attempt import Attempt
from recsys_dist.data.cluster import Progress, open_cluster
from recsys_dist.data.collected import ShardInfo, split_fingerprint
from recsys_dist.data.collection import Collected, Collection, default_shards
from recsys_dist.data.config import PrepareConfig
from recsys_dist.data.dataset import (
    RATINGS,
    SPLITS,
    Dataset,
    Manifest,
    RatingStats,
    RowCounts,
    Shard,
    SplitInfo,
)
from recsys_dist.data.input_blocks import InputBlock, continued_blocks, find_blocks, place_items
from recsys_dist.data.journal import Journal
from recsys_dist.data.output import Output
from recsys_dist.data.partition import RunInfo, cut_evenly
from recsys_dist.data.publish import write_item_table, write_rejects, write_user_table
from recsys_dist.data.scratch import Scratch
from recsys_dist.data.settled import Run
from recsys_dist.data.shards import RUNS
from recsys_dist.data.sources import InputFile, require_unchanged
from recsys_dist.data.split import describe
from recsys_dist.data.titles import find_titles_files, read_titles
from recsys_dist.data.vocab import merge_levels, rank_items
from recsys_dist.sigterm import ended_by_sigterm
from recsys_dist.storage import FileRecord, Folder


def prepare(config: PrepareConfig, progress: Progress | None = None) -> Manifest:
    """Prepare the dataset that `config` describes and return its manifest, which is written last.

    Raises `ConfigError` or `DataError` with one line. What the machine breaks off, by a signal, a full disk or a
    power cut, goes on where it was when it is called with the same settings and input.
    """
    with ended_by_sigterm():
        output = Output(config.output, config.overwrite)
        blocks = find_blocks(config)
        titles_files = find_titles_files(config.items)
        files = [*dict.fromkeys(block.file for block in blocks), *titles_files]
        attempt = Attempt.of(config, files)
        if output.completed == attempt.key:
            return Dataset.open(output.url).manifest
        titles = read_titles(titles_files, config.items)
        # The scratch folder is removed when the workers are gone: one that runs on would write into it.
        with (
            output.preparing(attempt) as work,
            open_cluster(config.cluster, len(blocks), progress) as cluster,
            output.writing(),
        ):
            journal = Journal(cluster, work.scratch)
            preparation = _Preparation(config, journal, work.scratch, work.dataset, titles, files)
            manifest = preparation.run(blocks)
            output.publish(work, manifest)
    return manifest


@dataclass(frozen=True)
class _Preparation:
    """One run through the stages."""

    config: PrepareConfig
    journal: Journal
    scratch: Scratch
    output: Folder
    titles: pa.Table | None
    """Item ids and titles; None where no file tells any."""
    files: Sequence[InputFile]
    """All that is read."""

    @property
    def _scratch_url(self) -> str:
        return self.scratch.folder.url

    def run(self, blocks: list[InputBlock]) -> Manifest:
        infos, runs = self._parse(self._under_items(blocks))
        require_unchanged(self.files)
        self._number_items(runs)
        collected = Collection(self.config, self.journal, self.scratch).run(infos)
        shards = collected.shards
        user_shards = self._user_shards(shards)
        num_train = self._count_items(len(shards))
        by_popularity, item_index = rank_items(num_train, collected.is_kept)
        self.scratch.save(ITEM_INDEX, {"item_index": item_index})
        item_shards = self._item_shards(num_train[by_popularity])
        files = [
            write_user_table(self.output, self.scratch, len(shards)),
            write_item_table(self.output, self.scratch, self.titles, by_popularity, num_train),
            *self._write_shards(user_shards, item_shards),
            *write_rejects(self.output, self.scratch, runs, infos, collected.rejects),
        ]
        return self._manifest(infos, collected, user_shards, item_shards, files)

    def _under_items(self, blocks: list[InputBlock]) -> list[InputBlock]:
        """The blocks, each with the item of the rows it begins with, where lines name the items."""
        if not self.config.input.has_item_lines:
            return blocks
        continued = continued_blocks(blocks)
        subjects = [block.subject for block in continued]
        found = self.journal.run("find items", tasks.find_last, [(block,) for block in continued], subjects)
        numbers = [block.number for block in continued]
        return place_items(blocks, dict(zip(numbers, found, strict=True)))

    def _parse(self, blocks: list[InputBlock]) -> tuple[list[RunInfo], list[Run]]:
        subjects = [block.subject for block in blocks]
        calls = [(self._scratch_url, block, self.config) for block in blocks]
        infos, runs = [], []
        lines: Counter[str] = Counter()
        parsed = self.journal.run("parse", tasks.parse, calls, subjects, _num_read)
        for block, parts in zip(blocks, parsed, strict=True):
            name, role = block.file.name, SPLITS.index(block.file.role)
            for part in parts:
                infos.append(part)
                runs.append(Run(part.name, name, lines[name] + 1, role))
                lines[name] += part.num_lines
        require_rows(infos, runs, self.config.ratings.max_rejected)
        self.scratch.save_json(RUNS, [asdict(run) for run in runs])
        return infos, runs

    def _number_items(self, runs: list[Run]) -> None:
        for level in merge_levels([f"{run.name}.run" for run in runs]):
            merges = [(self._scratch_url, sources, target) for sources, target in level]
            self.journal.run("merge items", tasks.merge, merges, [f"the items of {len(runs)} runs"] * len(merges))
        subjects = [f"the items of {run.file} from line {run.first_line}" for run in runs]
        calls = [(self._scratch_url, run.name) for run in runs]
        self.journal.run("number items", tasks.translate, calls, subjects)

    def _user_shards(self, shards: list[ShardInfo]) -> list[Shard]:
        stops = np.cumsum([shard.num_users for shard in shards]).tolist()
        starts = [0, *stops[:-1]]
        return [
            Shard(start=start, stop=stop, num_ratings=shard.num_ratings["train"])
            for start, stop, shard in zip(starts, stops, shards, strict=True)
        ]

    def _count_items(self, num_shards: int) -> NDArray[np.int64]:
        """Train ratings of each `item_code`, over all user shards."""
        total: NDArray[np.int64] = self.scratch.load("shard-0.counts")["num_train"].copy()
        for shard in range(1, num_shards):
            total += self.scratch.load(f"shard-{shard}.counts")["num_train"]
        return total

    def _item_shards(self, num_train: NDArray[np.int64]) -> list[Shard]:
        num_shards = self.config.shards.items or default_shards(int(num_train.sum()))
        cuts = cut_evenly(num_train, num_shards)
        spans = zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
        return [Shard(start=a, stop=b, num_ratings=int(num_train[a:b].sum())) for a, b in spans]

    def _write_shards(self, user_shards: list[Shard], item_shards: list[Shard]) -> list[FileRecord]:
        sizes = (user_shards[-1].stop, item_shards[-1].stop)
        urls = (self._scratch_url, self.output.url)
        has_timestamps = self.config.input.columns.timestamp is not None
        user_calls = [
            (*urls, number, Extent(shard.start, shard.stop, *sizes), has_timestamps)
            for number, shard in enumerate(user_shards)
        ]
        written = self.journal.run(
            "write users", tasks.write_users, user_calls, _shard_subjects("user", len(user_calls)), _num_written
        )
        item_calls = [
            (*urls, number, Extent(shard.start, shard.stop, *sizes), len(user_shards))
            for number, shard in enumerate(item_shards)
        ]
        subjects = _shard_subjects("item", len(item_calls))
        blocks = self.journal.run("write items", tasks.write_items, item_calls, subjects, lambda file: file.rows)
        return [*(record for records in written for record in records), *blocks]

    def _manifest(
        self,
        infos: list[RunInfo],
        collected: Collected,
        user_shards: list[Shard],
        item_shards: list[Shard],
        files: Sequence[FileRecord],
    ) -> Manifest:
        shards = collected.shards
        num_ratings = {split: sum(shard.num_ratings[split] for shard in shards) for split in SPLITS}
        rejected = sum((info.rejected for info in infos), collected.rejected)
        return Manifest(
            num_users=user_shards[-1].stop,
            num_items=item_shards[-1].stop,
            num_ratings=num_ratings,
            rating=self._rating_stats(shards),
            rows=RowCounts(
                read=sum(info.num_read for info in infos), kept=sum(num_ratings.values()), rejected=dict(rejected)
            ),
            split=SplitInfo(
                rule=describe(self.config.split, collected.cutoffs), fingerprint=split_fingerprint(shards)
            ),
            user_shards=tuple(user_shards),
            item_shards=tuple(item_shards),
            files=tuple(files),
        )

    def _rating_stats(self, shards: list[ShardInfo]) -> RatingStats:
        rules, num_train = self.config.ratings, sum(shard.num_ratings["train"] for shard in shards)
        return RatingStats(
            min=rules.min if rules.min is not None else min(shard.train_min for shard in shards),
            max=rules.max if rules.max is not None else max(shard.train_max for shard in shards),
            mean=sum(shard.train_sum for shard in shards) / num_train,
        )


def _num_read(parts: list[RunInfo]) -> int:
    return sum(part.num_read for part in parts)


def _num_written(files: list[FileRecord]) -> int:
    return sum(file.rows for file in files if file.name.startswith(RATINGS))


def _shard_subjects(side: str, count: int) -> list[str]:
    return [f"{side} shard {number}" for number in range(count)]
