"""Distinguishes JSON, and lines of Python dictionaries, from delimited text.

CSV may also begin with a brace or bracket. A text counts as JSON if a JSON value fills its whole first line, or if
the sample ends within a value that cannot be anything else.
"""

from __future__ import annotations

import codecs
import json
import re

OBJECT = re.compile(r'\{\s*("[^"\n]*"\s*:|\}|$)')
ROWS = re.compile(r'\[\s*(\{\s*"|\[\s*["\d-]|$)')
PYTHON_OBJECT = re.compile(r"\{\s*u?'[^'\n]*'\s*:")
CONVERT = (
    "which is not read; convert it to CSV or Parquet, for example with DuckDB: "
    "COPY (SELECT * FROM read_json_auto('{name}')) TO 'ratings.parquet'"
)


def json_kind(name: str, data: bytes) -> str | None:
    """The kind of JSON in the file `name`, and how to convert it; None if it is not JSON."""
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace").lstrip()
    if text[:1] not in {"{", "["}:
        return None
    if PYTHON_OBJECT.match(text) and text.partition("\n")[0].rstrip().endswith("}"):
        return "Python dictionaries line by line, which are not read; convert them to CSV or Parquet"
    try:
        value, stop = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        # The first value may be longer than the sample.
        is_rows = ROWS.match(text) and 2 * getattr(error, "pos", len(text)) > len(text)
        return f"JSON, {CONVERT.format(name=name)}" if OBJECT.match(text) or is_rows else None
    # Anything but JSON on the rest of the line is the next field of a delimited text.
    if re.match(r"[ \t]*,?[ \t\r]*(\n|$)|[{[]", text[stop:]) is None:
        return None
    rest = text[stop:].lstrip(", \t\r")
    is_lines = isinstance(value, dict) or rest.lstrip()[:1] == "["
    kind = "JSON Lines (one object or array a line)" if is_lines and "\n" not in text[:stop] else "JSON"
    return f"{kind}, {CONVERT.format(name=name)}"
