"""The settings that `inspect` proposes, as the text of a configuration for `prepare`.

What could not be found is left out with a comment, so that the file is refused until somebody has chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from recsys_dist.preparation.inspection.sniff import MAX_REJECTED, Sniffed
from recsys_dist.preparation.inspection.time_columns import describe_time

COMMENT_COLUMN = 24
HEAD = """\
# Proposed by `recsys-dist inspect` from a sample: read it before it is used.
#
#   recsys-dist prepare --config THIS_FILE output=DATASET
"""


def to_yaml(sniffed: Sniffed) -> str:
    """The whole file."""
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
        told = [describe_time(role.column)] if field == "timestamp" else []
        comment = "; ".join(filter(None, ["a guess" if role.is_guess else "", *told]))
        yield _commented(f"    {field}: {_scalar(role.column.reference)}", comment)
    taken = {role.column.position for role in sniffed.roles.values()}
    references = [column.reference for column in sniffed.columns if column.position not in taken]
    rest = ", ".join(_scalar(reference) for reference in references if references.count(reference) == 1)
    for field in sniffed.missing:
        yield f"    # {field}: choose" + (f" one of {rest}" if rest else ", but no column is left")


def _ratings(sniffed: Sniffed) -> Iterator[str]:
    parsed = sniffed.parsed
    yield "ratings:"
    for key, seen in (("min", parsed and parsed.lowest), ("max", parsed and parsed.highest)):
        yield _commented(f"  {key}: null", "" if seen is None else f"seen in the sample: {seen:g}")
    yield _commented(
        f"  max_rejected: {MAX_REJECTED:g}", "stop where a greater fraction of the rows cannot be used"
    )


def _output() -> Iterator[str]:
    yield "# output: DATASET        # folder or URL; here or on the command line as output=DATASET"


def _commented(line: str, comment: str) -> str:
    # A comment has to be parted from what it is on, however long that is.
    return f"{line:<{COMMENT_COLUMN - 1}} # {comment}" if comment else line


def _scalar(value: Any) -> str:
    """A value as YAML on one line; text always in quotes, so that no name is taken for a number or a word."""
    style = '"' if isinstance(value, str) else None
    text: str = yaml.safe_dump(value, default_style=style, allow_unicode=True, width=1 << 30)
    return text.removesuffix("...\n").strip()
