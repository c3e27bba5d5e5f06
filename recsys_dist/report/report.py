"""Write the HTML page about a run folder or a dataset. Needs the extra `report`."""

from __future__ import annotations

from pathlib import Path

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.inference.lists import write_whole
from recsys_dist.report.dataset.dataset_overview import DatasetOverview, Progress
from recsys_dist.report.extra import drawing_tools
from recsys_dist.report.run.evaluation import read_evaluation
from recsys_dist.report.run.run_record import RunRecord


def write_report(run_dir: str, output: Path, evaluation: Path | None = None, plan: Path | None = None) -> None:
    """Write one self-contained HTML file about the run in `run_dir`, a folder or a URL.

    `evaluation` is the `report.json` that `evaluate` wrote for its model, `plan` the file that `plan` wrote; None:
    the plan in the folder. The same files give the same bytes.
    Raises `ConfigError` if matplotlib or Jinja is not installed, `DataError` for a missing or damaged file.
    """
    with drawing_tools():
        from recsys_dist.report.run.page import render  # noqa: PLC0415 - needs an extra
    record = RunRecord.read(run_dir, plan)
    page = render(record, None if evaluation is None else read_evaluation(evaluation, record.config))
    write_whole(output, page)


def write_dataset_page(dataset: Dataset, output: Path, progress: Progress | None = None) -> None:
    """Write one self-contained HTML file about a prepared dataset; the same dataset gives the same bytes.

    Raises `ConfigError` if matplotlib or Jinja is not installed, `DataError` for a missing or damaged file.
    """
    with drawing_tools():
        from recsys_dist.report.dataset.dataset_page import render  # noqa: PLC0415 - needs an extra
    write_whole(output, render(dataset, DatasetOverview.read(dataset, progress)))
