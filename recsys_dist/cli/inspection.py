"""`recsys-dist inspect` of a prepared dataset, a training run, a model or input files."""

from __future__ import annotations

from pathlib import Path

from recsys_dist.cli.show.dataset import print_manifest, print_verified
from recsys_dist.cli.show.input_file import print_settings, print_sniffed
from recsys_dist.cli.show.model import print_page
from recsys_dist.cli.show.progress import show_stages
from recsys_dist.cli.show.saved import print_model_folder, print_model_verified, print_run
from recsys_dist.dataset.dataset import Dataset, find_dataset
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.inference.lists import write_whole
from recsys_dist.model_folder.folder import ModelFolder
from recsys_dist.preparation.inspection.proposal import to_yaml
from recsys_dist.preparation.inspection.sniff import sniff
from recsys_dist.report.report import write_dataset_page
from recsys_dist.report.run.run_record import RunRecord
from recsys_dist.storage.holdings import Holding, holding, instead_of

PURPOSES = {
    "--output": "input files",
    "--plot": "prepared datasets (for a run, see `recsys-dist report`)",
    "--verify": "prepared datasets and models",
}


def inspect(url: str, plot: Path | None, verify: bool, output: Path | None) -> None:
    """Show the prepared dataset, training run or model at `url`; otherwise examine the input files there.

    Raises `ConfigError` for an option of another case.
    """
    found = Holding.DATASET if find_dataset(url) is not None else holding(url)
    _require_options(url, found, plot, verify, output)
    match found:
        case Holding.DATASET:
            inspect_dataset(url, plot, verify)
        case Holding.RUN:
            print_run(RunRecord.read(url))
        case Holding.MODEL:
            inspect_model(url, verify)
        case Holding.UNFINISHED:
            raise DataError(instead_of(url, Holding.DATASET))
        case _:
            inspect_files(url, found, output)


def _require_options(url: str, found: Holding, plot: Path | None, verify: bool, output: Path | None) -> None:
    given = {"--output": output is not None, "--plot": plot is not None, "--verify": verify}
    of_input = {Holding.FILE, Holding.OTHER, Holding.NOTHING, Holding.UNFINISHED}
    suited = {"--output": of_input, "--plot": {Holding.DATASET}, "--verify": {Holding.DATASET, Holding.MODEL}}
    for option, is_given in given.items():
        if is_given and found not in suited[option]:
            what = "holds no dataset" if found in of_input else f"is {found.value}"
            raise ConfigError(f"{option} is for {PURPOSES[option]}, but {url} {what}")


def inspect_files(pattern: str, found: Holding, output: Path | None) -> None:
    """Print what the files seem to contain and the proposed settings; with `output`, write the settings too.

    Raises `DataError` if there are no such files or they cannot be read as a table.
    """
    what = "it is neither a prepared dataset, a run, a model nor input"
    sniffed = sniff("inspect" if found is Holding.NOTHING else f"{pattern}: {what}", pattern)
    settings = to_yaml(sniffed)
    if output is not None:
        write_whole(output, settings)
    print_sniffed(sniffed)
    print_settings(settings)


def inspect_model(url: str, verify: bool) -> None:
    """Print the manifest of a model; with `verify`, check every file first.

    Raises `CheckpointError` naming the first file that differs from its record.
    """
    model = ModelFolder.open(url, verify)
    print_model_folder(model)
    if verify:
        print_model_verified(model)


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
