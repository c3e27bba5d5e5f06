"""Write docs/figures/demo.json from the report of the demo.

    python -m docs.site_builder.demo_figures runs/demo

Start it on the machine and the commit of the demo. A checkout with changes is refused.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from benchmarks.origin import Origin
from docs.site_builder.figures import Figure, FigureTable

COMMAND = "bash launch/demo.sh"
LABELS = {
    "global_mean": "global mean",
    "user_item_bias": "user + item bias, shrinkage learnt",
    "popularity": "most rated films",
    "mf": "`mf`",
    "autorec_item": "`autorec_item`",
    "ials": "`ials`",
    "ease": "`ease`",
    "ratings": "blend for ratings of `mf` and `autorec_item`",
    "lists": "blend for lists of `ease`, `ials` and `mf`",
}
COLUMNS = ("RMSE", "MAE", "nDCG", "recall", "share of films listed")


def main(demo: Path) -> None:
    """Read DEMO/report.json."""
    reports = json.loads((demo / "report.json").read_text(encoding="utf-8"))["reports"]
    origin = Origin.of(COMMAND, is_dirty_allowed=False)
    figures = tuple(
        Figure(LABELS[row], column, value, unit, **asdict(origin)) for row, column, value, unit in _cells(reports)
    )
    users, count = reports[0]["ranking"]["users"], reports[0]["count"]
    title = f"Errors on {count:,} held-out ratings from 0 to 10; lists of ten unseen films for {users:,} users"
    FigureTable(title, "model", COLUMNS, figures).write("demo")


def _cells(reports: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, str]]:
    first = reports[0]
    for name, errors in first["baselines"].items():
        yield from _errors(name, errors)
    yield from _lists("popularity", first["ranking"]["baselines"]["popularity"][0])
    for report in reports:
        name = PurePosixPath(report["model"]["url"]).name
        if report["predicts_ratings"]:
            yield from _errors(name, report)
        yield from _lists(name, report["ranking"]["cuts"][0])


def _errors(name: str, errors: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    yield name, "RMSE", _short(errors["rmse"]), "rating"
    yield name, "MAE", _short(errors["mae"]), "rating"


def _lists(name: str, cut: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    yield name, "nDCG", _short(cut["ndcg"]), "share"
    yield name, "recall", _short(cut["recall"]), "share"
    yield name, "share of films listed", f"{cut['coverage']:.1%}".replace("%", " %"), "share"


def _short(value: float) -> str:
    return f"{value:.4f}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
