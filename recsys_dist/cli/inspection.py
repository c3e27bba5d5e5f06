"""`recsys-dist inspect` of a prepared dataset or of input files."""

from __future__ import annotations

from pathlib import Path

from recsys_dist.cli.show.dataset import print_manifest, print_verified
from recsys_dist.cli.show.input_file import print_settings, print_sniffed
from recsys_dist.cli.show.model import print_page
from recsys_dist.cli.show.progress import show_stages
from recsys_dist.dataset.dataset import Dataset, find_dataset
from recsys_dist.dataset.manifest import MANIFEST
from recsys_dist.errors import ConfigError
from recsys_dist.inference.lists import write_whole
from recsys_dist.preparation.inspection.proposal import to_yaml
from recsys_dist.preparation.inspection.sniff import sniff
from recsys_dist.report.report import write_dataset_page


def inspect(url: str, plot: Path | None, verify: bool, output: Path | None) -> None:
    """Show the prepared dataset at `url` if a manifest is there; otherwise examine the input files at `url`.

    Raises `ConfigError` for an option of the other case.
    """
    if find_dataset(url) is not None:
        if output is not None:
            raise ConfigError(f"--output is for input files, but {url} is a prepared dataset")
        inspect_dataset(url, plot, verify)
        return
    for option, is_given in (("--verify", verify), ("--plot", plot is not None)):
        if is_given:
            raise ConfigError(f"{option} is for prepared datasets, but {url} holds no {MANIFEST}")
    inspect_files(url, output)


def inspect_files(pattern: str, output: Path | None) -> None:
    """Print what the files seem to contain and the proposed settings; with `output`, write the settings too.

    Raises `DataError` if there are no such files or they cannot be read as a table.
    """
    sniffed = sniff(f"{pattern} holds no {MANIFEST}: it is neither a prepared dataset nor input", pattern)
    settings = to_yaml(sniffed)
    if output is not None:
        write_whole(output, settings)
    print_sniffed(sniffed)
    print_settings(settings)


def inspect_dataset(url: str, plot: Path | None, verify: bool) -> None:
    """Print the manifest as tables; with `verify`, check every file first; with `plot`, write a page of figures.

    Raises `DataError` naming the first file that differs from its record.
    """
    dataset = Dataset.open(url)
    if verify:
        with show_stages() as progress:
            dataset.verify(progress)
    if plot is not None:
        with show_stages() as progress:
            write_dataset_page(dataset, plot, progress)
    print_manifest(dataset)
    if verify:
        print_verified(dataset)
    if plot is not None:
        print_page(plot)
