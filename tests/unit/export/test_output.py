"""The folder of an export: whole, checked by sha256sum, replaced only by its own kind."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from recsys_dist import load_model
from recsys_dist.cli import main
from recsys_dist.errors import CheckpointError, ConfigError
from recsys_dist.export import export as exports
from recsys_dist.storage.folder import Folder


def fails(*_given):
    raise OSError(28, "No space left on device", "items.parquet")


def test_checksums_are_those_of_sha256sum(models, tmp_path):
    load_model(models["mf"]).export(tmp_path / "out", "hub-folder")
    folder = tmp_path / "out"
    if shutil.which("sha256sum") is None:
        pytest.skip("needs sha256sum")

    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)

    listed = {line.split("  ")[1] for line in (folder / "SHA256SUMS").read_text().splitlines()}
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert there - listed == {"SHA256SUMS"}
    (folder / "README.md").write_text("other")
    ended = subprocess.run(["sha256sum", "--check", "--status", "SHA256SUMS"], cwd=folder, check=False)
    assert ended.returncode == 1


def test_an_export_is_replaced_by_one_to_the_same_target(models, tmp_path):
    load_model(models["mf"]).export(tmp_path / "out", "parquet")
    assert (tmp_path / "out" / "users.parquet").exists()

    load_model(models["ease"]).export(tmp_path / "out", "parquet")

    assert json.loads((tmp_path / "out" / "export.json").read_text())["model"]["kind"] == "ease"
    assert not (tmp_path / "out" / "users.parquet").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["notes.txt", ".git/HEAD", "items/more"])
def test_an_export_with_files_of_others_is_not_replaced(models, tmp_path, name):
    model, out = load_model(models["mf"]), tmp_path / "out"
    model.export(out, "hub-folder")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")

    with pytest.raises(
        CheckpointError, match=rf"out holds other files than its export, such as {name}; move them"
    ):
        model.export(out, "hub-folder")

    assert (out / name).read_text() == "mine"
    (out / name).unlink()
    model.export(out, "hub-folder")


def test_an_export_does_not_replace_the_model_it_is_made_of(models, tmp_path):
    load_model(models["mf"]).export(tmp_path / "out", "hub-folder")
    (tmp_path / "link").symlink_to(tmp_path / "out")

    with pytest.raises(CheckpointError, match="link is the model itself; give another output"):
        load_model(str(tmp_path / "out")).export(tmp_path / "link", "hub-folder", without_users=True)

    assert len(load_model(str(tmp_path / "out"), verify=True).user_ids) > 1


def test_an_export_that_fails_leaves_the_one_before(models, tmp_path, monkeypatch):
    model = load_model(models["mf"])
    model.export(tmp_path / "out", "parquet")
    before = (tmp_path / "out" / "SHA256SUMS").read_bytes()
    monkeypatch.setitem(exports.WRITERS, "parquet", fails)

    for name in ("out", "new"):
        with pytest.raises(OSError, match="No space left"):
            model.export(tmp_path / name, "parquet")

    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "content", [None, "[]", "{}", "not JSON", '{"format": "recsys_dist.export", "to": "onnx"}']
)
def test_other_folders_and_files_are_left_alone(models, tmp_path, content):
    taken = tmp_path / "taken"
    if content is None:
        taken.write_text("a file")
    else:
        taken.mkdir()
        (taken / "export.json").write_text(content)

    with pytest.raises(
        CheckpointError, match=r"taken (exists already|is an export to onnx, not to parquet); remove it"
    ):
        load_model(models["mf"]).export(taken, "parquet")
    assert taken.exists()


def test_an_export_behind_a_url(models):
    model = load_model(models["mf"])
    model.export("memory://exports/mf", "parquet")

    folder = Folder("memory://exports/mf")
    assert {"users.parquet", "items.parquet", "SHA256SUMS"} <= {*folder.names()}
    with pytest.raises(CheckpointError, match="only a local folder is replaced; remove it first"):
        model.export("memory://exports/mf", "parquet")
    folder.remove()


@pytest.mark.parametrize(
    ("to", "module"), [("faiss", "faiss"), ("hnsw", "usearch.index"), ("onnx", "onnxruntime")]
)
def test_a_missing_extra_is_named(models, tmp_path, monkeypatch, to, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"export --to {to} lacks a package: .*; pip install .*\[{to}\]"):
        load_model(models["autorec-users"]).export(tmp_path / "out", to)
    assert not (tmp_path / "out").exists()


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["export", *arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_says_what_it_wrote(models, tmp_path, capsys):
    code, out, err = run(capsys, models["mf"], "--to", "parquet", "--output", str(tmp_path / "out"))
    assert (code, err) == (0, "")
    assert "parquet" in out
    assert "1,732" in out
    assert (tmp_path / "out" / "users.parquet").is_file()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--to", "parquett"],
            "error: export --to parquett: use parquet, faiss, hnsw, onnx, hub-folder; did you mean",
        ),
        (
            ["--to", "onnx", "--evaluation", "a.json"],
            "error: --evaluation is for --to hub-folder; leave it out with",
        ),
        (["--to", "faiss", "--without-users"], "error: --without-users is for --to hub-folder; leave it out"),
        (
            ["--to", "hub-folder", "--evaluation", "a.json"],
            "error: cannot read the evaluation a.json: No such file",
        ),
        (["--to", "onnx"], "cannot be exported to onnx: it has no network"),
    ],
)
def test_a_mistake_is_one_line(models, tmp_path, capsys, options, message):
    code, _, err = run(capsys, models["mf"], "--output", str(tmp_path / "out"), *options)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
