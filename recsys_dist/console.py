"""Plain text output: tables and lines in characters that the stream can show.

In: ids, titles, names of files and columns, with any characters. Out: a rich console that prints them safely.
"""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from recsys_dist.plain_text import printable


class PlainConsole(Console):
    """Makes all text `printable`, and escapes characters that its stream cannot encode."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Overrides rich: every printed string, alone or in a table, passes through here."""
        # Before layout, because an escape is wider than its character.
        shown = printable(text).encode(self.encoding, "backslashreplace").decode(self.encoding)
        return super().render_str(shown, **options)


def new_console(stderr: bool = False, **options: Any) -> PlainConsole:
    """A console without markup or emoji codes: "[REC]" is a film, not a colour.

    Bars that move need a terminal. FORCE_COLOR, which Jupyter sets for the commands of a notebook, makes none.
    """
    stream = sys.stderr if stderr else sys.stdout
    if stream is None or not stream.isatty():
        options.setdefault("force_terminal", False)
    return PlainConsole(stderr=stderr, markup=False, emoji=False, highlight=False, **options)
