"""`fit`: from a CSV and titles to a model in one command, and again with the same command."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsys_dist import load_model
from recsys_dist.cli import main

MOVIES = "film;title;genre\n" + "".join(f"m{number};Film {number};x\n" for number in range(20))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    pairs = sorted({(int(user), int(film)) for user, film in rng.integers(0, 20, (300, 2))})
    rows = [f"u{user},m{film},{1 + (user * film) % 5}\n" for user, film in pairs]
    (tmp_path / "ratings.csv").write_text("user_id,film,rating\n" + "".join(rows))
    (tmp_path / "movies.csv").write_text(MOVIES)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def end(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", *arguments])
    return ended.value.code


@pytest.mark.usefixtures("folder")
def test_a_csv_and_titles_become_a_model_and_the_next_command(capsys: pytest.CaptureFixture[str]):
    assert end("ratings.csv", "--titles", "movies.csv", "--output", "films") == 0

    out = capsys.readouterr().out
    assert [line.split()[2] for line in out.splitlines() if line.startswith("$ recsys-dist")] == [
        "inspect",
        "prepare",
        "train",
        "merge",
    ]
    model = load_model("films/model")
    user = out.rsplit("--user ", 1)[1].split()[0]
    assert f"recommend films/model --user {user} --top 10" in out
    (listed,) = model.recommend([user], 3)
    assert all(title.startswith("Film ") for title in listed.titles)


@pytest.mark.usefixtures("folder")
def test_the_same_command_again_changes_nothing():
    assert end("ratings.csv", "--output", "films") == 0
    before = load_model("films/model").manifest

    assert end("ratings.csv", "--output", "films") == 0

    assert load_model("films/model").manifest == before


@pytest.mark.usefixtures("folder")
def test_titles_that_come_too_late_are_not_ignored(capsys: pytest.CaptureFixture[str]):
    assert end("ratings.csv", "--output", "films") == 0
    capsys.readouterr()

    assert end("ratings.csv", "--titles", "movies.csv", "--output", "films") == 2

    assert "--titles: films/dataset was prepared without; remove films, or name another" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("other.csv", "--output", "films"), "is for ratings.csv, not other.csv; name another --output"),
        (("ratings.csv", "--titles", "one.csv", "--output", "films"), "one.csv is not a recognizable table"),
        (("nowhere.csv",), "nowhere.csv"),
    ],
)
def test_what_cannot_be_fitted_is_told(folder: Path, capsys, arguments: tuple[str, ...], told: str):
    (folder / "one.csv").write_text("title\nFilm 1\nFilm 2\n")
    (folder / "films").mkdir()
    text = "input: {paths: ratings.csv, columns: {user: user_id, item: film, rating: rating}}\n"
    (folder / "films/prepare.yaml").write_text(text)

    assert end(*arguments) == 2

    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
