"""The page about a prepared dataset: its figures filled into one HTML template."""

from __future__ import annotations

from markupsafe import Markup

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES
from recsys_dist.report.dataset.dataset_figures import activity, density, histogram, shard_balance
from recsys_dist.report.dataset.dataset_overview import DatasetOverview, balance
from recsys_dist.report.templates import fill

TEMPLATE = "dataset.html.jinja"


def render(dataset: Dataset, overview: DatasetOverview) -> str:
    """The whole page. Everything from files is escaped; only the figures are inserted as markup."""
    figures = {
        "histogram": histogram(overview),
        "activity": activity(overview),
        "density": density(overview),
        "balance": shard_balance(dataset),
    }
    return fill(
        TEMPLATE,
        dataset=dataset,
        manifest=dataset.manifest,
        overview=overview,
        largest={side: float(balance(dataset.shards(side)).max()) for side in SIDES},
        # Figures contain numbers and fixed words alone, so nothing needs to be escaped.
        figures={name: Markup(svg) for name, svg in figures.items()},
    )
