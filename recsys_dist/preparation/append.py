"""Appends ratings to a dataset: a new dataset in which existing users and items keep their indices.

    input blocks --parse--> runs --find users--> known and new users
    new items are numbered after those of the dataset
    --deduplicate, (time cutoffs,) split--> user shards: the old ones with their additions, then new users
    --write users, write items--> the shards that differ; the others are carried over unchanged

User and item shards keep their rows. New users join the last shard if it then has no more ratings than the median
shard, else they get shards of their own. The same holds for new items.
"""

from __future__ import annotations

import logging
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import RATINGS, SPLITS, Ancestor, Manifest, Shard
from recsys_dist.dataset.tables import id_schema, write_table
from recsys_dist.errors import DataError
from recsys_dist.preparation.arrays.scratch import join_texts, narrow, pack_texts, unpack_texts
from recsys_dist.preparation.collection import cut_buckets, find_time_cutoffs
from recsys_dist.preparation.parsing.input_blocks import InputBlock
from recsys_dist.preparation.parsing.timestamps import Moments
from recsys_dist.preparation.publish import manifest_of, write_item_table, write_rejects
from recsys_dist.preparation.reading import Reading
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.gathered import ShardInfo
from recsys_dist.preparation.shards.growth import GrownInfo, KnownInfo, Part, base_runs
from recsys_dist.preparation.shards.item_ids import ITEM_IDS, rank_items
from recsys_dist.preparation.shards.merging import RUNS
from recsys_dist.preparation.shards.runs import RunInfo, cut_evenly
from recsys_dist.preparation.shards.splits import TRAIN, Cutoffs
from recsys_dist.preparation.shards.user_rows import Buckets, Run, Source
from recsys_dist.preparation.shards.writing import ITEM_INDEX, count_items, extents, user_shards_of
from recsys_dist.preparation.tasks import tasks
from recsys_dist.storage.folder import FileRecord, Folder

ADDED_ITEMS = "items.added"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Addition:
    """Appends one input to the dataset `base`."""

    reading: Reading
    base: Dataset
    output: Folder
    titles: pa.Table | None

    @property
    def config(self) -> PrepareConfig:
        """The settings."""
        return self.reading.config

    def run(self, blocks: list[InputBlock]) -> Manifest:
        """Write the files of the new dataset and return its manifest."""
        infos, added = self.reading.parse(blocks, self.base.manifest.timestamp_ticks)
        self.reading.tell_units(infos, added, self._base_times())
        ticks = added[0].ticks
        runs = [*base_runs(self.base, self._roles(), ticks), *added]
        self.reading.scratch.save_json(RUNS, [asdict(run) for run in runs])
        self._number_items(added)
        grown = self._grow(self._parts(added), ticks)
        num_train = count_items(self.reading.scratch, len(grown.infos))
        by_number = self._number_new_items(num_train)
        user_shards = user_shards_of(grown.shards)
        item_shards = self._item_shards(num_train[by_number])
        written = self._write_shards(grown, user_shards, item_shards)
        num_rejects = sum(file.name.startswith("rejects/") for file in self.base.manifest.files)
        known = pc.cast(self.base.titles, pa.string())
        scratch = self.reading.scratch
        files = [
            self._write_user_table(grown, user_shards),
            write_item_table(self.output, scratch, self.titles, by_number, num_train, known),
            *written,
            *write_rejects(self.output, scratch, runs, infos, grown.rejects, first=num_rejects),
        ]
        manifest = self._manifest(infos, grown, (user_shards, item_shards), self._with_carried(files), ticks)
        self._require_news(manifest, ", ".join(dict.fromkeys(block.file.name for block in blocks)))
        return manifest

    def _require_news(self, manifest: Manifest, names: str) -> None:
        """Raise `DataError` if the input changes no rating; its rows would be counted twice."""
        url = self.base.folder.url
        if _ratings_files(manifest) == _ratings_files(self.base.manifest):
            raise DataError(
                f"append: {names} changes nothing in {url}, which already has all of its valid ratings; "
                "was it appended before? The dataset is unchanged"
            )
        if _num_ratings(manifest) == _num_ratings(self.base.manifest):
            logger.warning("append: %s has no new (user, item) pairs for %s, only new ratings", names, url)

    def _base_times(self) -> list[tuple[str, tuple[int, int]]]:
        """The dataset's URL with the range of timestamps in its first train shard, in whole units."""
        if self.config.input.columns.timestamp is None:
            return []
        _, times = self.base.timed_ratings("train", 0)
        span = Moments(times // self.base.manifest.timestamp_ticks).span
        return [(self.base.folder.url, span)] if span is not None else []

    def _roles(self) -> list[int]:
        """The role of each split's rows: train, unless the split is made by files."""
        split = self.config.split
        if split.kind != "files":
            return [TRAIN] * len(SPLITS)
        is_drawn = {"valid"} if not isinstance(split.valid, tuple) else set()
        return [TRAIN if name in is_drawn else code for code, name in enumerate(SPLITS)]

    def _run(
        self, stage: str, task: Any, calls: Sequence[tuple[Any, ...]], num_rows: Callable[[Any], int], subject: str
    ) -> list[Any]:
        placed = [(self.reading.scratch.folder.url, self.base.folder.url, *call) for call in calls]
        subjects = [f"{subject} {number}" for number in range(len(calls))]
        return self.reading.journal.run(stage, task, placed, subjects, num_rows)

    def _number_items(self, added: list[Run]) -> None:
        """Number the items: existing ones keep their index as `item_code`, new ones follow, sorted by id."""
        scratch = self.reading.scratch
        self.reading.merge_items(added, ADDED_ITEMS)
        found = unpack_texts("item", scratch.load(ADDED_ITEMS))
        known = pc.cast(self.base.ids("items"), pa.large_string())
        new = found.filter(pc.invert(pc.is_in(found, value_set=known)))
        scratch.save(ITEM_IDS, pack_texts("item", join_texts([known, new])))
        self.reading.number_items(added)

    def _parts(self, added: list[Run]) -> _Parts:
        calls = [(run.name,) for run in added]
        known: list[KnownInfo] = self._run("find users", tasks.find_known, calls, lambda _: 0, "the users of run")
        touched = {int(shard) for info in known for shard in info.shards}
        spans = self._new_spans([info.new for info in known])
        shards = self.base.shards("users")
        parts = [Part(number, is_old=True, new=None) for number in range(len(shards))]
        if len(spans) == 1 and self._fits_last(shards, sum(int(info.new.num_rows.sum()) for info in known)):
            parts[-1] = Part(len(shards) - 1, is_old=True, new=spans.pop())
            touched.add(len(shards) - 1)
        parts += [Part(len(shards) + number, is_old=False, new=span) for number, span in enumerate(spans)]
        touched |= set(range(len(shards), len(parts)))
        if self.config.split.kind == "time":
            touched = set(range(len(parts)))
        return _Parts(parts, sorted(touched))

    def _new_spans(self, new: list[Buckets]) -> list[tuple[int, int]]:
        """Hash ranges of the shards of new users."""
        num_rows = sum(int(part.num_rows.sum()) for part in new)
        return cut_buckets(new, self._num_new_shards(self.base.shards("users"), num_rows)) if num_rows else []

    def _num_new_shards(self, shards: Sequence[Shard], num_ratings: int) -> int:
        return max(1, round(num_ratings / _usual_ratings(shards)))

    def _fits_last(self, shards: Sequence[Shard], num_ratings: int) -> bool:
        return shards[-1].num_ratings + num_ratings <= _usual_ratings(shards)

    def _grow(self, parts: _Parts, ticks: int) -> _Grown:
        """Deduplicate the shards with additions and split all shards; timestamps have `ticks` per unit."""
        calls = [(parts.all[number], self.config) for number in parts.touched]
        settled = self._run(
            "deduplicate users",
            tasks.deduplicate_grown,
            calls,
            lambda info: int(info.buckets.num_rows.sum()),
            "user shard",
        )
        cutoffs = None
        if self.config.split.kind == "time":
            sources = [Source(f"settled-{part.shard}") for part in parts.all]
            reading = self.reading
            cutoffs = find_time_cutoffs(self.config.split, sources, reading.journal, reading.scratch, ticks)
        touched = set(parts.touched)
        finals = [(part, part.shard in touched, cutoffs, self.config) for part in parts.all]
        infos: list[GrownInfo] = self._run(
            "split users",
            tasks.finish_grown,
            finals,
            lambda info: sum(info.shard.num_ratings.values()),
            "user shard",
        )
        refused = sum((info.rejected for info in settled), Counter[str]())
        numbered = zip(parts.touched, settled, strict=True)
        rejects = [f"settled-{number}.rejects" for number, info in numbered if info.rejected]
        return _Grown(infos, refused, rejects, cutoffs)

    def _number_new_items(self, num_train: NDArray[np.int64]) -> NDArray[np.int64]:
        """Item codes in order of item_index: existing items first, then new ones by decreasing popularity."""
        num_known = self.base.num_items
        ranked, _ = rank_items(num_train[num_known:])
        by_number = np.concatenate([np.arange(num_known), ranked + num_known])
        item_index = np.empty(len(by_number), np.int64)
        item_index[by_number] = np.arange(len(by_number))
        self.reading.scratch.save(ITEM_INDEX, {"item_index": narrow(item_index)})
        return by_number

    def _item_shards(self, num_train: NDArray[np.int64]) -> list[Shard]:
        """The dataset's item shards, with new items in the last or in more shards; `num_train` by item_index."""
        shards, num_known = self.base.shards("items"), self.base.num_items
        stops = [shard.stop for shard in shards]
        new = num_train[num_known:]
        if len(new) and self._fits_last(shards, int(new.sum())):
            stops[-1] = len(num_train)
        elif len(new):
            cuts = cut_evenly(new, self._num_new_shards(shards, int(new.sum())))
            stops += (cuts[1:] + num_known).tolist()
        return [
            Shard(start=start, stop=stop, num_ratings=int(num_train[start:stop].sum()))
            for start, stop in zip([0, *stops[:-1]], stops, strict=True)
        ]

    def _write_shards(self, grown: _Grown, user_shards: list[Shard], item_shards: list[Shard]) -> list[FileRecord]:
        """Write the shards that differ from the dataset's."""
        has_timestamps = self.config.input.columns.timestamp is not None
        urls = (self.reading.scratch.folder.url, self.output.url)
        users, items = extents(user_shards, item_shards)
        touched = [number for number, info in enumerate(grown.infos) if info.is_touched]
        calls = [(*urls, number, users[number], has_timestamps) for number in touched]
        subjects = [f"user shard {number}" for number in touched]
        journal = self.reading.journal
        written = journal.run("write users", tasks.write_users, calls, subjects, tasks.num_written)
        changed = self._changed_items(touched, item_shards)
        changes = [(number, self.output.url, items[number], touched) for number in changed]
        blocks = self._run("write items", tasks.write_grown_items, changes, lambda file: file.rows, "item shard")
        return [*(record for records in written for record in records), *blocks]

    def _changed_items(self, touched: Iterable[int], item_shards: list[Shard]) -> list[int]:
        """The item shards that are new, longer or have changed ratings."""
        scratch, item_index = self.reading.scratch, self.reading.scratch.load(ITEM_INDEX)["item_index"]
        is_changed = np.zeros(len(item_index), bool)
        for number in touched:
            is_changed[item_index[scratch.load(f"shard-{number}.changed")["item"]]] = True
        # New items may have no train ratings but still belong to a shard.
        is_changed[self.base.num_items :] = True
        return [n for n, shard in enumerate(item_shards) if is_changed[shard.start : shard.stop].any()]

    def _write_user_table(self, grown: _Grown, user_shards: list[Shard]) -> FileRecord:
        schema, scratch, base = id_schema("users"), self.reading.scratch, self.base
        num_train = np.zeros(user_shards[-1].stop, np.int64)
        num_train[: base.num_users] = base.num_train("users")
        for number, (info, shard) in enumerate(zip(grown.infos, user_shards, strict=True)):
            if info.is_touched:
                num_train[shard.start : shard.stop] = scratch.load(f"shard-{number}.users")["user.num_train"]

        def parts() -> Iterator[pa.Table]:
            for start, ids in base.id_batches("users"):
                yield pa.table([ids, pa.array(num_train[start : start + len(ids)])], schema=schema)
            for number, shard in enumerate(user_shards):
                if shard.stop > base.num_users:
                    first = max(shard.start, base.num_users)
                    ids = unpack_texts("user", scratch.load(f"shard-{number}.users"))[first - shard.start :]
                    counts = pa.array(num_train[first : shard.stop])
                    yield pa.table([pc.cast(ids, pa.string()), counts], schema=schema)

        return write_table(self.output, "users.parquet", schema, parts())

    def _with_carried(self, files: Sequence[FileRecord]) -> list[FileRecord]:
        """Add the dataset's files that `files` does not replace, and link or copy them to the output."""
        new = {file.name for file in files}
        carried = [file for file in self.base.manifest.files if file.name not in new]
        for file in carried:
            self.output.take(self.base.folder, file.name)
        return [*carried, *files]

    def _manifest(
        self,
        infos: list[RunInfo],
        grown: _Grown,
        sides: tuple[list[Shard], list[Shard]],
        files: list[FileRecord],
        ticks: int,
    ) -> Manifest:
        rows = self.base.manifest.rows
        rejected = sum((info.rejected for info in infos), Counter(rows.rejected) + grown.rejected)
        num_read = rows.read + sum(info.num_read for info in infos)
        ancestors = self._ancestors(sum(info.num_held_out for info in grown.infos))
        files = sorted(files, key=lambda file: file.name)
        return manifest_of(
            self.config, grown.shards, grown.cutoffs, sides, num_read, rejected, files, ancestors, ticks
        )

    def _ancestors(self, num_held_out: int) -> tuple[Ancestor, ...]:
        base = self.base
        sizes = {"num_users": base.num_users, "num_items": base.num_items}
        parent = Ancestor(digest=base.digest, num_held_out=num_held_out, **sizes)
        # A train rating of an older ancestor may be held out by several appends, so this is an upper bound.
        older = [
            one.model_copy(update={"num_held_out": one.num_held_out + num_held_out})
            for one in base.manifest.grown_from
        ]
        return (*older, parent)


@dataclass(frozen=True)
class _Parts:
    """All user shards, and the numbers of those to rewrite."""

    all: list[Part]
    touched: list[int]


@dataclass(frozen=True)
class _Grown:
    """The result of deduplicating and splitting the shards."""

    infos: list[GrownInfo]
    rejected: Counter[str]
    rejects: list[str]
    """Scratch files of the rows rejected meanwhile."""
    cutoffs: Cutoffs | None

    @property
    def shards(self) -> list[ShardInfo]:
        """The infos of all shards."""
        return [info.shard for info in self.infos]


def _ratings_files(manifest: Manifest) -> list[FileRecord]:
    return sorted(
        (file for file in manifest.files if file.name.startswith(f"{RATINGS}/")), key=lambda file: file.name
    )


def _num_ratings(manifest: Manifest) -> int:
    return sum(manifest.num_ratings.values())


def _usual_ratings(shards: Sequence[Shard]) -> float:
    return max(1.0, statistics.median(shard.num_ratings for shard in shards))
