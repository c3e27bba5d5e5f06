"""The command `doctor` itself: once for real, and its exit codes."""

from __future__ import annotations

import pytest

from recsys_dist.cli import main
from recsys_dist.distributed.interfaces import interfaces
from recsys_dist.doctor import doctor
from recsys_dist.doctor.finding import Finding
from tests.support.prepared import small_dataset


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *arguments])
    return int(ended.value.code or 0)


def test_a_real_host_is_examined(tmp_path, capsys, monkeypatch):
    """Two processes really all-reduce over each interface; one that does not exist fails at once."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "nowhere0")
    dataset = small_dataset(tmp_path / "d")

    code = run("--dataset", dataset.folder.url, "--run-dir", str(tmp_path / "run"))

    *lines, summary = capsys.readouterr().out.splitlines()
    assert code == 1
    assert {line.split()[0] for line in lines} <= {"ok", "note", "problem"}
    assert "to note, " in summary
    for interface in interfaces():
        assert any(line.startswith(f"ok      gloo over {interface.name}: 2 processes") for line in lines)
    assert any(line.startswith("problem gloo over nowhere0: ") for line in lines)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("note", 0), ("problem", 1)])
def test_only_a_problem_changes_the_exit_code(capsys, monkeypatch, level, code):
    monkeypatch.setattr(
        doctor, "examine", lambda _dataset, _run_dir: iter([Finding(level, "it", "is so", "do this")])
    )

    assert run() == code
    assert f"{level:<8}it: is so; do this\n" in capsys.readouterr().out
