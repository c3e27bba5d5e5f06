"""Formats the settings that `inspect` proposes as a configuration file for `prepare`.

Columns that were not found are left out with a comment, so that `prepare` refuses the file until they are chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from recsys_dist.preparation.inspection.sniff import MAX_REJECTED, Sniffed
from recsys_dist.preparation.inspection.time_columns import describe_time

COMMENT_COLUMN = 24
HEAD = """\
# Proposed by `recsys-dist inspect` from a sample: check it before use.
#
#   recsys-dist prepare --config THIS_FILE output=DATASET
"""


def to_yaml(sniffed: Sniffed) -> str:
    """The text of the configuration file."""
    return "\n".join([HEAD, *_input(sniffed), "", *_ratings(sniffed), "", *_output()]) + "\n"


def _input(sniffed: Sniffed) -> Iterator[str]:
    yield "input:"
    for key, value in sniffed.tree.items():
        if key != "columns":
            yield f"  {key}: {_scalar(value)}"
            continue
        yield "  columns:" if value else "  columns: {}"
        yield from _columns(sniffed)


def _columns(sniffed: Sniffed) -> Iterator[str]:
    for field, role in sniffed.roles.items():
        facts = [describe_time(role.column)] if field == "timestamp" else []
        comment = "; ".join(filter(None, ["a guess" if role.is_guess else "", *facts]))
        yield _commented(f"    {field}: {_scalar(role.column.reference)}", comment)
    if not sniffed.has_ratings:
        yield _commented("    rating: null", "each row is an interaction")
    taken = {role.column.position for role in sniffed.roles.values()}
    references = [column.reference for column in sniffed.columns if column.position not in taken]
    rest = ", ".join(_scalar(reference) for reference in references if references.count(reference) == 1)
    for field in sniffed.missing:
        instead = ", or null if each row is an interaction" if field == "rating" else ""
        yield f"    # {field}: choose" + (f" one of {rest}{instead}" if rest else ", but no column is left")


def _ratings(sniffed: Sniffed) -> Iterator[str]:
    parsed = sniffed.parsed
    yield "ratings:"
    seen_range = (parsed.lowest, parsed.highest) if parsed is not None and sniffed.has_ratings else (None, None)
    for key, seen in zip(("min", "max"), seen_range, strict=True):
        yield _commented(f"  {key}: null", "" if seen is None else f"seen in the sample: {seen:g}")
    yield _commented(f"  max_rejected: {MAX_REJECTED:g}", "stop if a larger fraction of the rows cannot be used")


def _output() -> Iterator[str]:
    yield "# output: DATASET        # folder or URL; set it here or on the command line as output=DATASET"


def _commented(line: str, comment: str) -> str:
    # YAML needs a blank before the comment, even after a long line.
    return f"{line:<{COMMENT_COLUMN - 1}} # {comment}" if comment else line


def _scalar(value: Any) -> str:
    """A value as YAML on one line; text is always quoted, so that names are not read as numbers or keywords."""
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=1 << 30)
    return text.removesuffix("...\n").strip()
