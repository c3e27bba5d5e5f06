"""Reads a bounded sample of an input file: facts about its columns, and the result of parsing its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.hive import folder_values
from recsys_dist.preparation.inputs.kinds import recognized
from recsys_dist.preparation.inputs.sources import InputFile
from recsys_dist.preparation.inspection.column_facts import ColumnFacts, describe
from recsys_dist.preparation.inspection.json_keys import key_texts
from recsys_dist.preparation.inspection.sample import Sample, take_sample
from recsys_dist.preparation.inspection.text_shape import TextShape, from_first_item, guess_shape
from recsys_dist.preparation.parsing.fields import cut_fields
from recsys_dist.preparation.parsing.json_lines.layout import JsonLayout, read_json_layout
from recsys_dist.preparation.parsing.layout import TextLayout, read_layout
from recsys_dist.preparation.parsing.lines import Lines
from recsys_dist.preparation.parsing.parquet import open_parquet, parse_parquet
from recsys_dist.preparation.parsing.parquet_types import decoded
from recsys_dist.preparation.parsing.rows import ParsedBlock, parse_text
from recsys_dist.preparation.parsing.text_checks import is_utf8, readable
from recsys_dist.preparation.settings.input import InputSettings
from recsys_dist.preparation.settings.prepare import RatingRules

SAMPLE_ROWS = 1 << 16
"""Parquet rows in the sample."""


@dataclass(frozen=True)
class ParsedSample:
    """The result of parsing the sample."""

    num_good: int
    refused: Counter[str]
    """Number of rejected rows by reason."""
    lowest: float | None
    highest: float | None
    """Range of the accepted ratings; None without any."""

    @classmethod
    def of(cls, blocks: list[ParsedBlock]) -> ParsedSample:
        """Count the rows of all blocks."""
        ratings = [block.rows.rating for block in blocks if len(block.rows)]
        refused = sum((block.rejects.counts() for block in blocks), Counter[str]())
        lowest = min((float(rating.min()) for rating in ratings), default=None)
        highest = max((float(rating.max()) for rating in ratings), default=None)
        return cls(sum(map(len, ratings)), refused, lowest, highest)

    @property
    def num_read(self) -> int:
        """Number of rows, accepted and rejected."""
        return self.num_good + self.refused.total()


@dataclass(frozen=True)
class TextTable:
    """The sample of a text file."""

    file: InputFile
    sample: Sample
    shape: TextShape
    columns: tuple[ColumnFacts, ...]
    num_lines: int

    @classmethod
    def read(cls, file: InputFile) -> TextTable:
        """Take a sample and guess its format. Raises `DataError` naming a file that is not a text table."""
        sample = take_sample(file)
        shape = guess_shape(file.name, sample.pieces, len(folder_values(file)))
        if shape.has_item_lines:
            pieces = [sample.pieces[0], *map(from_first_item, sample.pieces[1:])]
            sample = Sample(tuple(filter(None, pieces)), sample.is_whole)
        lines = [Lines.of(piece, shape.encoding, not place) for place, piece in enumerate(sample.pieces)]
        return cls(file, sample, shape, tuple(_text_columns(shape, lines)), sum(map(len, lines)))

    @property
    def extent(self) -> str:
        """The extent of the sample, for messages."""
        return self.sample.extent

    def parse(self, settings: InputSettings) -> ParsedSample:
        """Parse the sample by the proposed settings."""
        layout = read_layout(self.file, settings, dict(settings.columns), "input")
        return parse_pieces(self.sample, layout, settings)

    def total_rows(self, num_sampled: int) -> int | None:
        """Estimated rows of the file, from the mean row length; None if its unpacked size is unknown."""
        return estimated_rows(self.file, self.sample, num_sampled)

    @property
    def num_columns(self) -> int:
        """Number of columns of the file."""
        return len(self.columns)

    @property
    def is_whole(self) -> bool:
        """Whether the number of rows is exact, not estimated."""
        return self.sample.is_whole


@dataclass(frozen=True)
class JsonTable:
    """The sample of a file of JSON Lines; its columns are the keys, dotted within objects."""

    file: InputFile
    sample: Sample
    columns: tuple[ColumnFacts, ...]
    num_columns: int
    """Number of keys, more than are described if there are too many."""
    num_lines: int
    shape: None = None

    @classmethod
    def read(cls, file: InputFile) -> JsonTable:
        """Take a sample. Raises `DataError` naming a file that is not JSON Lines."""
        sample = take_sample(file)
        pieces = [Lines.of(piece, "utf-8", not place) for place, piece in enumerate(sample.pieces)]
        found = key_texts(file, [lines.text_of(row) for lines in pieces for row in range(len(lines))])
        columns = [describe(place, name, texts) for place, (name, texts) in enumerate(found.columns)]
        return cls(file, sample, tuple(columns), found.num_keys, sum(map(len, pieces)))

    @property
    def extent(self) -> str:
        """The extent of the sample, for messages."""
        return self.sample.extent

    def parse(self, settings: InputSettings) -> ParsedSample:
        """Parse the sample by the proposed settings."""
        layout = read_json_layout(self.file, settings, dict(settings.columns), "input")
        return parse_pieces(self.sample, layout, settings)

    def total_rows(self, num_sampled: int) -> int | None:
        """Estimated rows of the file; see `TextTable.total_rows`."""
        return estimated_rows(self.file, self.sample, num_sampled)

    @property
    def is_whole(self) -> bool:
        """Whether the number of rows is exact, not estimated."""
        return self.sample.is_whole


@dataclass(frozen=True)
class ParquetTable:
    """The first rows of a Parquet file."""

    file: InputFile
    columns: tuple[ColumnFacts, ...]
    num_lines: int
    """Rows in the sample."""
    num_rows: int
    """Rows in the file."""
    is_whole: bool = True
    shape: None = None

    @classmethod
    def read(cls, file: InputFile) -> ParquetTable:
        """Read the first rows. Raises `DataError` naming a file that is damaged or has no rows."""
        with open_parquet(file) as parquet:
            num_rows = parquet.metadata.num_rows
            batch = next(parquet.iter_batches(SAMPLE_ROWS, use_threads=False), None) if num_rows else None
        if batch is None:
            raise DataError(f"{file.name} has no rows")
        columns = [
            describe(position, name, _as_text(batch.column(position)))
            for position, name in enumerate(batch.schema.names)
        ]
        return cls(file, tuple(columns), batch.num_rows, num_rows)

    @property
    def extent(self) -> str:
        """The extent of the sample, for messages."""
        return f"the first {self.num_lines:,} of {self.num_rows:,} rows"

    def parse(self, settings: InputSettings) -> ParsedSample:
        """Parse the sample by the proposed settings."""
        with open_parquet(self.file) as parquet:
            groups = range(parquet.metadata.num_row_groups)
        rules, timestamps = RatingRules(), settings.timestamp_format
        parsed = parse_parquet(self.file, groups, settings.columns, rules, timestamps, SAMPLE_ROWS)
        return ParsedSample.of(list(islice(parsed, 1)))

    def total_rows(self, num_sampled: int) -> int:
        """Number of rows of the file."""
        assert num_sampled <= self.num_rows, "the sample is a part of the file"
        return self.num_rows

    @property
    def num_columns(self) -> int:
        """Number of columns of the file."""
        return len(self.columns)


SampledTable: TypeAlias = TextTable | JsonTable | ParquetTable


def read_table(file: InputFile) -> SampledTable:
    """Sample a file of any format; JSON Lines are recognized whatever the name."""
    if file.format == "parquet":
        return ParquetTable.read(file)
    file = recognized(file)
    return JsonTable.read(file) if file.format == "json" else TextTable.read(file)


def parse_pieces(sample: Sample, layout: TextLayout | JsonLayout, settings: InputSettings) -> ParsedSample:
    """Parse a sample of text or JSON Lines."""
    return ParsedSample.of(
        [
            parse_text(piece, layout, RatingRules(), not place, None, settings.timestamp_format)
            for place, piece in enumerate(sample.pieces)
        ]
    )


def estimated_rows(file: InputFile, sample: Sample, num_sampled: int) -> int | None:
    """Rows of a file, from the mean length of the sampled rows; None if its unpacked size is unknown."""
    if sample.is_whole:
        return num_sampled
    if file.packing is not None:
        return None
    return round(num_sampled * file.num_bytes / sample.num_bytes)


def _text_columns(shape: TextShape, pieces: list[Lines]) -> Iterator[ColumnFacts]:
    cut = [cut_fields(lines, shape.layout, not place).columns for place, lines in enumerate(pieces)]
    for position in range(shape.num_fields):
        texts = pa.concat_arrays([columns[str(position)].dictionary_decode() for columns in cut])
        yield describe(position, None if shape.header is None else shape.header[position], texts)


def _as_text(array: pa.Array) -> pa.StringArray:
    """Convert a column to text; empty if the type cannot be cast, with bytes that are not UTF-8 escaped."""
    array = decoded(array)
    if pa.types.is_timestamp(array.type):
        # Drop the time zone, so that casting to text gives UTC and needs no time zone database.
        array = pc.cast(array, pa.timestamp(array.type.unit))
    try:
        texts = pc.fill_null(pc.cast(array, pa.string()), "")
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return pa.array([""] * len(array), pa.string())
    return texts if is_utf8(texts).all() else pa.array(map(readable, texts), pa.string())
