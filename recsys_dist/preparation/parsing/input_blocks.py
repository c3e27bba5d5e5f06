"""Cuts the input into blocks for the parsing tasks, and determines their layouts."""

from __future__ import annotations

import itertools
import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation.inputs.empty_parts import without_empty
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.parsing.item_lines import LastItem
from recsys_dist.preparation.parsing.json_lines.layout import JsonLayout, read_json_layout
from recsys_dist.preparation.parsing.layout import TextLayout, read_layout
from recsys_dist.preparation.parsing.parquet import group_ranges
from recsys_dist.preparation.settings.prepare import PrepareConfig, named_paths


@dataclass(frozen=True)
class InputBlock:
    """A range of one input file: bytes of text or row groups of Parquet; `number` is unique in the input."""

    file: InputFile
    layout: TextLayout | JsonLayout | None
    """None for Parquet."""
    number: int
    start: int
    stop: int
    item_above: str | None = None
    """With item lines, the item of the block's first rows; None if unknown."""

    @property
    def subject(self) -> str:
        """The name of the block in messages."""
        unit = "byte" if self.layout is not None else "row group"
        return f"{self.file.name} from {unit} {self.start} to {self.stop}"


def find_rating_files(config: PrepareConfig) -> list[InputFile]:
    """The rating files named by the settings, without empty parts."""
    return [
        file
        for key, role, paths in named_paths(config)
        for file in without_empty(key, find_files(key, paths, config.input, role))
    ]


def find_blocks(config: PrepareConfig, files: Sequence[InputFile] | None = None) -> list[InputBlock]:
    """The blocks of `files`, or else of the files in the settings, sorted by full file name and position.

    Reads the beginning of each file.
    """
    files = find_rating_files(config) if files is None else files
    places = Counter((file.url, file.member) for file in files)
    repeated = [file.name for file in files if places[file.url, file.member] > 1]
    if repeated:
        raise ConfigError(f"split: {repeated[0]} is named for more than one split")
    layouts = {file: _layout(file, config) for file in files}
    ranges: list[tuple[InputFile, int, int]] = []
    for file in sorted(files, key=_place):
        ranges += [(file, start, stop) for start, stop in _cut(file, config)]
    return [
        InputBlock(file, layouts[file], number, start, stop) for number, (file, start, stop) in enumerate(ranges)
    ]


def _place(file: InputFile) -> tuple[str, str]:
    """A sort key that does not depend on how the file was named: the normalized full path."""
    return posixpath.normpath(file.url), file.name


def _cut(file: InputFile, config: PrepareConfig) -> list[tuple[int, int]]:
    if file.format == "parquet":
        return group_ranges(file, config.input.block_bytes, config.input.columns)
    return file.blocks(config.input.block_bytes)


def _layout(file: InputFile, config: PrepareConfig) -> TextLayout | JsonLayout | None:
    if file.format == "parquet":
        if config.input.has_item_lines:
            raise DataError(f"{file.name} is Parquet, but layout: netflix is for text")
        return None
    read = read_json_layout if file.format == "json" else read_layout
    return read(file, config.input, dict(config.input.columns), "input")


def continued_blocks(blocks: list[InputBlock]) -> list[InputBlock]:
    """The blocks followed by another block of the same file; `blocks` are sorted by file and position."""
    return [block for block, after in itertools.pairwise(blocks) if after.start > 0]


def place_items(blocks: list[InputBlock], found: Mapping[int, LastItem | None]) -> list[InputBlock]:
    """Set the item of each block's first rows: the last item named above it in the file.

    `found` holds the result of `find_last_item` for each continued block, by number.
    """
    item, placed = None, []
    for block in blocks:
        item = item if block.start > 0 else None
        placed.append(replace(block, item_above=item))
        last = found.get(block.number)
        item = last.item if last is not None else item
    return placed
