"""A suite from the command to its file, tables and charts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.origin import Origin
from benchmarks.suites.suite import Measured, Options
from docs.site_builder import figures, plots
from docs.site_builder.figures import FigureTable
from docs.site_builder.tables import with_tables
from recsys_dist.errors import ConfigError

PLACE = "<!-- figures: memory -->\n<!-- end -->"


def tiny(options: Options) -> Measured:
    table = Measured("Memory", "items", ("mf", "mf, `training.memory_limit=256MiB`"))
    for size in options.sizes or (0.5, 1):
        for column in table.columns:
            table.add(f"{round(size * 1e6):,}", column, f"{size:.2f}", "GB", "implicit 0.7.3")
    return table


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(run.SUITES, "memory", tiny)
    monkeypatch.setattr(run, "FIGURES", tmp_path)
    monkeypatch.setattr(figures, "FIGURES", tmp_path)
    monkeypatch.setattr("benchmarks.origin.commit_of", lambda *_: "abc1234")
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    run.main()


def test_its_file_says_where_figures_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, "memory", "--sizes", "1,2")
    figure = FigureTable.read("memory").figures[0]
    assert figure.command == "python -m benchmarks.run memory --sizes 1,2"
    assert figure.commit == "abc1234"
    assert "GB" in figure.machine
    assert "torch" in figure.versions
    assert figure.versions.endswith("implicit 0.7.3")


def test_pages_and_charts_are_made_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    call(monkeypatch, "memory")
    page = with_tables(PLACE)
    assert "| 500,000 | 0.50 GB | 0.50 GB |" in page
    assert "implicit 0.7.3" in page
    assert [one.points for one in plots.memory().series] == [((0.5, 0.5), (1.0, 1.0))] * 2


def test_rows_that_were_not_measured_are_kept_on_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    call(monkeypatch, "memory", "--sizes", "2")
    call(monkeypatch, "memory", "--keep")
    table = FigureTable.read("memory")
    assert table.row_names == ["500,000", "1,000,000", "2,000,000"]
    assert table.cell("2,000,000", "mf").command.endswith("--sizes 2")
    call(monkeypatch, "memory", "--output", str(tmp_path / "other.json"))
    assert FigureTable.read("other").row_names == ["500,000", "1,000,000"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ranks", "--runs", "0"], "--runs takes 1 or more; not 0"),
        (["memory", "--sizes", "1,x"], "--sizes takes millions separated by commas"),
        (["memory", "--sizes=-1"], "--sizes takes millions above 0 and below a million"),
        (["memory", "--runs", "2"], "--runs is no setting of the suite memory, which takes --sizes"),
        (["ranks", "--sizes", "1,2"], "the suite ranks takes one size; not 1, 2"),
        (["quick", "--opponents", "lib"], "--opponents takes libmf, surprise, cmfrec, spark; not lib"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        call(monkeypatch, *words)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {message}")


def test_a_refused_checkout_is_not_measured(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def refuse(*_: object) -> Origin:
        raise ConfigError("files differ")

    monkeypatch.setattr(Origin, "of", refuse)
    with pytest.raises(SystemExit):
        call(monkeypatch, "memory")
    assert not list(folder.glob("*.json"))
