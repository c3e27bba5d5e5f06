"""`inspect FILE`: what it prints and writes, and one line where it is given what it cannot use."""

from __future__ import annotations

import pytest
import yaml

from tests.support.inspect_command import cells, inspect
from tests.support.prepared import small_dataset

ROWS = "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n2,1029,3.0,1260759179\n2,31,x,1260759179\n"


def test_tables_then_the_settings_that_are_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    (tmp_path / "a.csv").write_text(ROWS)

    assert inspect(tmp_path / "a.csv", "--output", tmp_path / "a.yaml") == 0

    out = capsys.readouterr().out
    shown = cells(out)
    assert ["separator", ","] in shown
    assert ["rating", "rating", "text", "3", "2.5", "x", "2.5, 3.0, x"] in shown
    assert ["refused: rating is not a finite number", "1"] in shown
    assert ["usable rows", "2"] in shown
    written = (tmp_path / "a.yaml").read_text()
    assert out.endswith(written)
    assert yaml.safe_load(written)["input"]["columns"]["item"] == "movieId"


def test_names_of_columns_cannot_steer_the_terminal_nor_the_settings(tmp_path, capsys):
    name = '[red]\x1b[2J": {x'
    (tmp_path / "a.csv").write_text(f"user;item;rating;{name}\n1;2;3;4\n1;3;4;6\n1;2;3;x\n")
    assert inspect(tmp_path / "a.csv", "--output", tmp_path / "a.yaml") == 0
    assert "\x1b" not in capsys.readouterr().out
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())["input"]["columns"]["user"] == "user"


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "a.csv").write_text(ROWS)
    assert inspect(tmp_path / "a.csv", "--output", tmp_path / "a.csv") == 2
    assert "this file exists" in capsys.readouterr().err
    assert (tmp_path / "a.csv").read_text() == ROWS


@pytest.mark.parametrize("option", ["--verify", "--plot"])
def test_options_of_a_dataset_do_not_go_with_a_file(tmp_path, capsys, option):
    (tmp_path / "a.csv").write_text(ROWS)
    values = [tmp_path / "page.html"] if option == "--plot" else []
    assert inspect(tmp_path / "a.csv", option, *values) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {option} is for prepared datasets")
    assert error.endswith(f", but {tmp_path}/a.csv holds no dataset\n")


def test_output_does_not_go_with_a_dataset(tmp_path, capsys):
    dataset = small_dataset(tmp_path / "d")
    assert inspect(dataset.folder.url, "--output", tmp_path / "a.yaml") == 2
    assert "--output is for input files" in capsys.readouterr().err
    assert not (tmp_path / "a.yaml").exists()


@pytest.mark.parametrize(("name", "told"), [("none", "there is no file"), ("empty", "holds no files")])
def test_neither_a_dataset_nor_input_is_one_line(tmp_path, capsys, name, told):
    (tmp_path / "empty").mkdir()
    assert inspect(tmp_path / name) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert f"{tmp_path}/{name}" in error
    assert told in error
    assert error.count("\n") == 1
