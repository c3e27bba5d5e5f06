"""The stages that read the input, shared by new datasets and appends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recsys_dist.dataset.manifest import SPLITS
from recsys_dist.preparation.acceptance import require_rows
from recsys_dist.preparation.arrays.scratch import Scratch
from recsys_dist.preparation.inputs.sources import InputFile, require_unchanged
from recsys_dist.preparation.inspection.time_columns import doubts_of_units
from recsys_dist.preparation.parsing.input_blocks import InputBlock, continued_blocks, place_items
from recsys_dist.preparation.settings.prepare import PrepareConfig
from recsys_dist.preparation.shards.item_ids import merge_levels
from recsys_dist.preparation.shards.runs import RunInfo
from recsys_dist.preparation.shards.user_rows import Run
from recsys_dist.preparation.tasks import tasks
from recsys_dist.preparation.tasks.journal import Journal

Span = tuple[int, int]
RUNS_AT_ONCE = 8
"""Runs whose items are numbered in one task, since each takes little time."""


@dataclass(frozen=True)
class Reading:
    """Reads input files into runs with numbered items."""

    config: PrepareConfig
    journal: Journal
    scratch: Scratch
    files: Sequence[InputFile]
    """All input files, titles included."""
    tell: Callable[[str], None]
    """Called with each warning for the user."""

    @property
    def _scratch_url(self) -> str:
        return self.scratch.folder.url

    def parse(self, blocks: list[InputBlock], ticks: int = 1) -> tuple[list[RunInfo], list[Run]]:
        """Parse the blocks into runs, in input order; all runs use the same timestamp ticks.

        The ticks per unit are at least `ticks`, and enough for all rows.
        Raises `DataError` if too many rows are rejected or a file changes meanwhile.
        """
        blocks = self._under_items(blocks)
        subjects = [block.subject for block in blocks]
        calls = [(self._scratch_url, block, self.config) for block in blocks]
        parsed: list[list[RunInfo]] = self.journal.run("parse", tasks.parse, calls, subjects, _num_read)
        files = [block.file for block, parts in zip(blocks, parsed, strict=True) for _ in parts]
        infos = [info for parts in parsed for info in parts]
        ticks = max([ticks, *(info.ticks for info in infos)])
        infos = self._fit_times(infos, ticks)
        runs = []
        lines: Counter[str] = Counter()
        for file, info in zip(files, infos, strict=True):
            runs.append(Run(info.name, file.name, lines[file.name] + 1, SPLITS.index(file.role), ticks))
            lines[file.name] += info.num_lines
        require_rows(infos, runs, self.config)
        require_unchanged(self.files)
        return infos, runs

    def _fit_times(self, infos: list[RunInfo], ticks: int) -> list[RunInfo]:
        """Reject rows whose timestamps overflow at `ticks` per unit; most runs are returned unchanged."""
        far = [place for place, info in enumerate(infos) if not info.fits(ticks)]
        calls = [(self._scratch_url, infos[place], ticks, self.config) for place in far]
        subjects = [f"the timestamps of {infos[place].name}" for place in far]
        fitted = self.journal.run("fit times", tasks.fit_times, calls, subjects) if far else []
        replaced = dict(zip(far, fitted, strict=True))
        return [replaced.get(place, info) for place, info in enumerate(infos)]

    def tell_units(
        self, infos: Sequence[RunInfo], runs: Sequence[Run], more: Sequence[tuple[str, Span]] = ()
    ) -> None:
        """Warn if the timestamps of the runs, or of the named ranges `more`, seem to differ in unit."""
        spans = [(run.file, info.times) for info, run in zip(infos, runs, strict=True) if info.times is not None]
        for doubt in doubts_of_units([*more, *spans]):
            self.tell(doubt)

    def _under_items(self, blocks: list[InputBlock]) -> list[InputBlock]:
        """Set the item of each block's first rows, for layouts in which lines name the items."""
        if not self.config.input.has_item_lines:
            return blocks
        continued = continued_blocks(blocks)
        subjects = [block.subject for block in continued]
        found = self.journal.run("find items", tasks.find_last, [(block,) for block in continued], subjects)
        numbers = [block.number for block in continued]
        return place_items(blocks, dict(zip(numbers, found, strict=True)))

    def merge_items(self, runs: Sequence[Run], target: str) -> None:
        """Merge the item ids of all runs, sorted, into the scratch file `target`."""
        for level in merge_levels([f"{run.name}.run" for run in runs], target):
            merges = [(self._scratch_url, sources, merged) for sources, merged in level]
            self.journal.run("merge items", tasks.merge, merges, [f"the items of {len(runs)} runs"] * len(merges))

    def number_items(self, runs: Sequence[Run]) -> None:
        """Write the `item_code` of each run's items: their positions among all item ids."""
        groups = [runs[start : start + RUNS_AT_ONCE] for start in range(0, len(runs), RUNS_AT_ONCE)]
        subjects = [f"the items of {group[0].file} from line {group[0].first_line}" for group in groups]
        calls = [(self._scratch_url, [run.name for run in group]) for group in groups]
        self.journal.run("number items", tasks.translate, calls, subjects)

    def discard(self, runs: Sequence[Run]) -> None:
        """Free the scratch files of collected runs; a resumed preparation does not read them."""
        self.scratch.discard(f"{run.name}.{kind}" for run in runs for kind in ("run", "items"))


def _num_read(parts: list[RunInfo]) -> int:
    return sum(part.num_read for part in parts)
