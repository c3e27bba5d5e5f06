"""Write the tables of figures into README.md and docs/: `python -m docs.site_builder.tables`.

A table stands between two comments, `<!-- figures: NAME -->` and `<!-- end -->`, and is made of
docs/figures/NAME.json.
"""

from __future__ import annotations

import re
from pathlib import Path

from docs.site_builder.figures import DOCS, FigureTable
from docs.site_builder.markdown import table

ROOT = DOCS.parent
PLACE = re.compile(r"<!-- figures: (\w+) -->\n.*?<!-- end -->", re.DOTALL)

SHOWN_UNITS = {"s", "ms", "ns", "GB"}


def pages() -> list[Path]:
    """The README and all pages."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def with_tables(text: str) -> str:
    """The text of a page with its tables made anew."""
    return PLACE.sub(lambda found: f"<!-- figures: {found[1]} -->\n{rendered(found[1])}<!-- end -->", text)


def rendered(name: str) -> str:
    """A table of figures as markdown, with a line that says where they come from."""
    read = FigureTable.read(name)
    rows = [(row, *(_shown(read, row, column) for column in read.columns)) for row in read.row_names]
    return f"\n{read.title}:\n\n{table((read.rows, *read.columns), rows)}\n{read.origin()}\n\n"


def _shown(read: FigureTable, row: str, column: str) -> str:
    figure = read.cell(row, column)
    if figure is None:
        return ""
    has_unit = figure.unit not in SHOWN_UNITS or figure.unit in figure.value
    return figure.value if has_unit else f"{figure.value} {figure.unit}"


def main() -> None:
    """Rewrite every page whose tables have changed."""
    for path in pages():
        text = path.read_text(encoding="utf-8")
        if (made := with_tables(text)) != text:
            path.write_text(made, encoding="utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
