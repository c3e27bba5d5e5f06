"""What `demo` refuses before it starts. The demo itself runs after the tests: `bash launch/demo.sh`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from recsys_dist.cli import demo_command, main
from recsys_dist.shipped_configs import demo_ratings


def test_a_folder_with_something_else_is_never_emptied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SystemExit) as ended:
        main(["demo", "--folder", str(tmp_path)])

    assert ended.value.code == 2
    assert "is not the folder of a demo and is not empty; name another --folder" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_earlier_demo_is_replaced_and_a_failing_step_ends_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "demo"
    monkeypatch.setattr(
        demo_command, "_commands", lambda *_: [["recsys-dist", "merge", "nowhere", "--output", "x"]]
    )
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["demo", "--folder", str(folder)])
        assert ended.value.code == 2
        captured = capsys.readouterr()
        assert "$ recsys-dist merge nowhere --output x" in captured.out
        assert "nowhere" in captured.err
        assert "Pages" not in captured.out
        assert [path.name for path in folder.iterdir()] == [demo_command.MARK]
        (folder / "left over").touch()


@pytest.mark.parametrize(("found", "program"), [("/usr/bin/recsys-dist", "recsys-dist"), (None, ".venv/bin/r")])
def test_the_next_commands_can_be_typed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, found: str | None, program: str
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: found)
    monkeypatch.setattr(sys, "argv", [".venv/bin/r", "demo"])
    demo_command._tell_next(Path("runs/demo"), can_draw=True)
    assert f"Next:    {program} recommend runs/demo/models/lists" in capsys.readouterr().out


def test_the_ratings_come_with_their_licence() -> None:
    assert {path.name for path in demo_ratings().iterdir()} == {"ratings.dat.gz", "movies.dat.gz", "LICENSE"}
