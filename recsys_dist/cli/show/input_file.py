"""Tables on stdout about an input file, and the proposed settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from recsys_dist.cli.show.model import pairs_table
from recsys_dist.console import new_console
from recsys_dist.preparation.parsing.separators import SEPARATORS

if TYPE_CHECKING:
    from recsys_dist.preparation.inspection.sniff import Sniffed
    from recsys_dist.preparation.inspection.table_sample import ParsedSample
    from recsys_dist.preparation.inspection.text_shape import TextShape

SHOWN_CHARACTERS = 24
FORMATS = {"csv": "text", "json": "JSON Lines", "parquet": "Parquet"}


def print_sniffed(sniffed: Sniffed) -> None:
    """Print the file and its shape, its columns, the rows of the sample, and remarks."""
    output = new_console()
    output.print(_file(sniffed))
    output.print(_columns(sniffed))
    if sniffed.parsed is not None:
        output.print(_rows(sniffed, sniffed.parsed))
    for field in sniffed.missing:
        output.print(f"Not found: the column of the {field}", soft_wrap=True)
    for remark in sniffed.remarks:
        output.print(f"Note: {remark}", soft_wrap=True)


def print_settings(text: str) -> None:
    """Print the proposed configuration unchanged."""
    console = new_console()
    console.print("Proposed settings:")
    for line in text.removesuffix("\n").split("\n"):
        console.print(line, soft_wrap=True)


def _file(sniffed: Sniffed) -> Table:
    file, table = sniffed.table.file, pairs_table("Input")
    table.add_row("file", file.name)
    if sniffed.num_files > 1:
        table.add_row("files in all", f"{sniffed.num_files:,}; the largest was examined")
    if sniffed.num_empty:
        table.add_row("empty files", f"{sniffed.num_empty:,}, skipped")
    table.add_row("sample", sniffed.table.extent)
    table.add_row("packing", " in ".join(part for part in (file.packing, file.member and "zip") if part) or "none")
    table.add_row("format", FORMATS[file.format])
    if sniffed.table.shape is not None:
        _add_shape(table, sniffed.table.shape)
    table.add_row("columns", f"{sniffed.table.num_columns:,}")
    if not sniffed.has_ratings:
        table.add_row("rows are", "interactions, without ratings")
    if sniffed.folder_columns:
        table.add_row("columns from folder names", f"{len(sniffed.folder_columns)}")
    return table


def _add_shape(table: Table, shape: TextShape) -> None:
    table.add_row("encoding", shape.encoding + _doubt(not shape.is_encoding_sure) + " with BOM" * shape.has_bom)
    table.add_row("separator", SEPARATORS[shape.separator])
    table.add_row("quote", shape.quote or "none")
    if shape.escape is not None:
        table.add_row("escape", shape.escape)
    table.add_row("header", "none" if shape.header is None else "yes")
    table.add_row("layout", "netflix: each item has a line of its own" if shape.has_item_lines else "plain")


def _columns(sniffed: Sniffed) -> Table:
    table = Table(title="Columns of the sample", title_justify="left")
    for name in ("column", "role", "values", "distinct", "smallest", "largest", "examples"):
        table.add_column(name, justify="right" if name == "distinct" else "left", overflow="fold")
    roles = {role.column.position: field + _doubt(role.is_guess) for field, role in sniffed.roles.items()}
    for column in sniffed.columns:
        table.add_row(
            *(_shown(str(column.reference)), roles.get(column.position, ""), column.kind),
            *(f"{column.num_distinct:,}", _shown(column.smallest), _shown(column.largest)),
            ", ".join(map(_shown, column.examples)),
        )
    return table


def _rows(sniffed: Sniffed, parsed: ParsedSample) -> Table:
    table = pairs_table("Rows of the sample, with the proposed settings")
    table.add_row("lines", f"{sniffed.table.num_lines:,}")
    table.add_row("usable rows", f"{parsed.num_good:,}")
    for reason, count in sorted(parsed.refused.items()):
        table.add_row(f"refused: {reason}", f"{count:,}")
    total = sniffed.table.total_rows(parsed.num_read)
    about = "" if sniffed.table.is_whole else "about "
    table.add_row("rows in the file", "unknown, because it is packed" if total is None else f"{about}{total:,}")
    return table


def _doubt(is_guess: bool) -> str:
    return " (a guess)" if is_guess else ""


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"
