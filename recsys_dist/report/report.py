"""Write the HTML page about a run folder or a dataset. Needs the extra `report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.inference.lists import write_whole
from recsys_dist.report.dataset.dataset_overview import DatasetOverview, Progress
from recsys_dist.report.extra import drawing_tools
from recsys_dist.report.run.evaluation import match_evaluations, read_evaluation
from recsys_dist.report.run.examples import example_lists
from recsys_dist.report.run.run_record import RunRecord


def write_report(
    run_dir: str,
    output: Path,
    evaluation: Path | None = None,
    plan: Path | None = None,
    model_dir: str | None = None,
) -> None:
    """Write one self-contained HTML file about the run in `run_dir`, a folder or a URL.

    `evaluation` is the `report.json` that `evaluate` wrote for its model, `plan` the file that `plan` wrote; None:
    the plan in the folder. With `model_dir`, the model merged from the run, the page shows lists for a few users.
    The same files give the same bytes. Raises `ConfigError` if matplotlib or Jinja is not installed or a file is
    of another run, `DataError` for a missing or damaged file.
    """
    with drawing_tools():
        from recsys_dist.report.run.page import render  # noqa: PLC0415 - needs an extra
    record = RunRecord.read(run_dir, plan)
    found = None if evaluation is None else read_evaluation(evaluation, record.config)
    examples = [] if model_dir is None else example_lists(model_dir, record.config)
    write_whole(output, render(record, found, examples))


def write_comparison(run_dirs: Sequence[str], output: Path, evaluations: Sequence[Path] = ()) -> None:
    """Write one self-contained HTML file that compares runs.

    Each of `evaluations` belongs to one of the runs. Raises as `write_report` does.
    """
    with drawing_tools():
        from recsys_dist.report.run.comparison import render  # noqa: PLC0415 - needs an extra
    records = [RunRecord.read(run_dir) for run_dir in run_dirs]
    write_whole(output, render(records, match_evaluations(evaluations, records)))


def write_dataset_page(dataset: Dataset, output: Path, progress: Progress | None = None) -> None:
    """Write one self-contained HTML file about a prepared dataset; the same dataset gives the same bytes.

    Raises `ConfigError` if matplotlib or Jinja is not installed, `DataError` for a missing or damaged file.
    """
    with drawing_tools():
        from recsys_dist.report.dataset.dataset_page import render  # noqa: PLC0415 - needs an extra
    write_whole(output, render(dataset, DatasetOverview.read(dataset, progress)))
