"""`recsys-dist inspect` of a prepared dataset."""

from __future__ import annotations

from pathlib import Path

from recsys_dist.cli.dataset_tables import print_manifest, print_verified
from recsys_dist.cli.progress import show_stages
from recsys_dist.cli.tables import print_page
from recsys_dist.data.dataset import Dataset
from recsys_dist.report.report import write_dataset_page


def inspect_dataset(url: str, plot: Path | None, verify: bool) -> None:
    """Print the manifest as tables; with `verify`, check every file first; with `plot`, write a page of figures.

    Raises `DataError` naming the first file that is not as recorded.
    """
    dataset = Dataset.open(url)
    if verify:
        with show_stages() as progress:
            dataset.verify(progress)
    print_manifest(dataset)
    if verify:
        print_verified(dataset)
    if plot is not None:
        with show_stages() as progress:
            write_dataset_page(dataset, plot, progress)
        print_page(plot)
