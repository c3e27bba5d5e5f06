"""Distinguishes JSON, and lines of Python dictionaries, from delimited text, and JSON Lines from other JSON.

CSV may also begin with a brace or bracket. A text counts as JSON if a JSON value fills its whole first line, or if
the sample ends within a value that cannot be anything else.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass

OBJECT = re.compile(r'\{\s*("[^"\n]*"\s*:|\}|$)')
ROWS = re.compile(r'\[\s*(\{\s*"|\[\s*["\d-]|$)')
PYTHON_OBJECT = re.compile(r"\{\s*u?'[^'\n]*'\s*:")
LINES = "JSON Lines"


@dataclass(frozen=True)
class JsonKind:
    """A kind of JSON, and what to do with it."""

    name: str
    advice: str

    @property
    def is_lines(self) -> bool:
        """Whether it can be read: one object a line."""
        return self.name == LINES


def _with_jq(query: str) -> str:
    return f"write one object a line, for example with jq -c {query} FILE > ratings.jsonl"


JSON_LINES = JsonKind(LINES, "which is read if its name ends in .jsonl, or with format: json")
OBJECTS = JsonKind(
    "JSON with objects of several lines, or several objects in a line", "which is not read; " + _with_jq(".")
)
COMMAS = JsonKind("JSON objects with a comma after each", "which are not read; remove the commas at the line ends")
ARRAY = JsonKind("a JSON array, not one object a line", "which is not read; " + _with_jq("'.[]'"))
ARRAYS = JsonKind(
    "JSON arrays line by line, without keys",
    "which are not read; " + _with_jq("'{user: .[0], item: .[1], rating: .[2]}'"),
)
PYTHON = JsonKind(
    "Python dictionaries line by line",
    "which are not read; write them as JSON, for example with print(json.dumps(ast.literal_eval(line)))",
)


def json_kind(data: bytes) -> JsonKind | None:
    """The kind of JSON that `data` begins with; None if it is not JSON."""
    text = data.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace").lstrip()
    if text[:1] not in {"{", "["}:
        return None
    if PYTHON_OBJECT.match(text) and text.partition("\n")[0].rstrip().endswith("}"):
        return PYTHON
    try:
        value, stop = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        # The first value may be longer than the sample.
        is_rows = ROWS.match(text) and 2 * getattr(error, "pos", len(text)) > len(text)
        return (ARRAY if is_rows else OBJECTS) if OBJECT.match(text) or is_rows else None
    # Anything but JSON on the rest of the line is the next field of a delimited text.
    if re.match(r"[ \t]*,?[ \t\r]*(\n|$)|[{[]", text[stop:]) is None:
        return None
    return _kind(value, text[:stop], text[stop:])


def has_object_lines(data: bytes) -> bool:
    """Whether at least half of the lines that `data` begins with are JSON objects; the last may be cut off."""
    *lines, last = data.split(b"\n")
    whole = [line for line in lines if line.strip()] or [last]
    return 2 * sum(map(_is_object, whole)) >= len(whole)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _kind(value: object, first: str, rest: str) -> JsonKind:
    """The kind of JSON by its first value, its text and the text after it."""
    line = rest.partition("\n")[0].strip()
    if isinstance(value, list):
        return ARRAYS if rest.lstrip(", \t\r\n")[:1] == "[" else ARRAY
    if line == ",":
        return COMMAS
    return OBJECTS if line or "\n" in first else JSON_LINES
