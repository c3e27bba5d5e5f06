"""What the program prints: tables and lines as plain text, in what the stream can show.

In: ids, titles, names of files and columns, with whatever signs they hold. Out: a rich console that shows them.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from recsys_dist.plain_text import printable


class PlainConsole(Console):
    """Makes every text that it is given `printable`, and escapes what the encoding of its stream lacks."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See rich: each string that is printed, alone or in a table, comes through here."""
        # Before it is laid out, as an escape is wider than what it stands for.
        shown = printable(text).encode(self.encoding, "backslashreplace").decode(self.encoding)
        return super().render_str(shown, **options)


def new_console(**options: Any) -> PlainConsole:
    """Shows titles and ids as they are: "[REC]" is a film, not a colour."""
    return PlainConsole(markup=False, emoji=False, highlight=False, **options)
