"""What commands print and write where the reader leaves, the terminal knows ASCII alone, or the disk is full."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist import load_model
from recsys_dist.cli import main
from recsys_dist.console import new_console
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST
from recsys_dist.plain_text import printable
from recsys_dist.storage.folder import Folder
from tests.field_cases.commands import ASCII, DEADLINE_S, command, one_line, run, run_unread
from tests.support.merged import autorec_run, mf_run, write_merged
from tests.support.prepared import small_dataset

NOTE = "note: a model of kind mf predicts ratings; kind ials or ease, or a blend, ranks items better\n"
"""What `recommend` says on stderr of a model that predicts ratings."""
RATINGS = "user,item,rating\n" + "".join(f"u{n % 7},i{n % 11},{1 + n % 5}\n" for n in range(77))


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("output")
    dataset = small_dataset(root / "dataset", num_users=40, num_items=25, num_ratings=300)
    for name, run_of in (("MF", mf_run(dataset)), ("AUTOREC", autorec_run(dataset, "users"))):
        write_merged(run_of, dataset, root / name)
    (root / "ratings.csv").write_text(RATINGS)
    return {name: str(root / name) for name in ("MF", "AUTOREC", "dataset", "ratings.csv")}


def with_folders(folders: dict[str, str], *arguments: str) -> list[str]:
    return [folders.get(argument, argument) for argument in arguments]


WRITING = {
    "recommend": ("recommend", "MF", "--user", "u1", "-o", "OUT.json"),
    "recommend csv": ("recommend", "MF", "--user", "u1", "-o", "OUT.csv"),
    "all users": ("recommend", "MF", "--all-users", "-o", "OUT.parquet"),
    "evaluate": ("evaluate", "MF", "--dataset", "dataset", "-o", "OUT.json"),
    "inspect": ("inspect", "ratings.csv", "-o", "OUT.yaml"),
    "page of a dataset": ("inspect", "dataset", "--plot", "OUT.html"),
}


def writing(folders: dict[str, str], case: str, folder: Path) -> tuple[list[str], Path]:
    """The command, and the file that it writes."""
    arguments = with_folders(folders, *WRITING[case])
    arguments[-1] = str(folder / arguments[-1])
    return arguments, Path(arguments[-1])


@pytest.mark.parametrize("case", WRITING)
def test_the_file_is_there_though_nobody_reads_what_is_printed(folders, tmp_path, case):
    arguments, output = writing(folders, case, tmp_path)
    code, _, _ = run(*arguments)
    read = output.read_bytes()
    output.unlink()

    unread_code, err = run_unread(*arguments)

    assert (unread_code, code) == (0, 0)
    assert "Traceback" not in err
    assert "error" not in err
    assert len(output.read_bytes()) == pytest.approx(len(read), abs=200)  # the seconds in a report differ


@pytest.mark.parametrize("arguments", [("similar", "MF", "--item", "i3"), ("inspect", "dataset"), ("--help",)])
def test_a_closed_pipe_is_no_error(folders, arguments):
    assert run_unread(*with_folders(folders, *arguments)) == (0, "")


def test_a_closed_pipe_does_not_hide_a_mistake(folders):
    code, err = run_unread("recommend", folders["MF"], "--user", "nobody")

    assert code == 2
    assert one_line(err).startswith("unknown user 'nobody'")


def test_a_pipeline_reads_as_much_as_it_wants(folders):
    with subprocess.Popen(
        **command("recommend", folders["MF"], "--user", "u1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().split() == [b"User", b"u1"]
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
        assert process.stderr.read() == NOTE.encode()


def test_progress_that_nobody_reads_does_not_end_the_work(folders, tmp_path):
    reading, gone = os.pipe()
    os.close(reading)
    arguments = ("recommend", folders["MF"], "--all-users", "-o", tmp_path / "lists.parquet")
    try:
        done = subprocess.run(**command(*arguments), stdout=gone, stderr=gone, check=False, timeout=DEADLINE_S)
    finally:
        os.close(gone)

    assert done.returncode == 0
    assert len(pq.read_table(tmp_path / "lists.parquet")) == 400


def test_streams_that_were_closed_before_the_start_are_no_error(folders, tmp_path):
    arguments = command("recommend", folders["MF"], "--user", "u1", "-o", tmp_path / "lists.json")
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *arguments["args"]],
        env=arguments["env"],
        check=False,
        timeout=DEADLINE_S,
    )

    assert closed.returncode == 0
    assert len(json.loads((tmp_path / "lists.json").read_text())[0]["items"]) == 10


def test_a_table_that_finds_no_room_is_an_error_and_the_file_is_there(folders, tmp_path):
    with Path("/dev/full").open("wb") as full:
        code, _, err = run("recommend", folders["MF"], "--user", "u1", "-o", tmp_path / "lists.json", stdout=full)

    assert code == 2
    assert one_line(err) == "cannot write to standard output: No space left on device"
    assert (tmp_path / "lists.json").exists()


ODD = "Amélie 千と千尋 \U0001f600 [REC] \x1b[2J\x07\u202e naïve"


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> str:
    """A model whose users, items and titles hold what a terminal may lack or obey."""
    root = tmp_path_factory.mktemp("odd")
    dataset = small_dataset(root / "dataset", num_users=40, num_items=25, num_ratings=300)
    records = {}
    for side in ("users", "items"):
        table = pq.read_table(root / "dataset" / f"{side}.parquet")
        ids = pa.array([f"é\x1b[31m{text}" for text in table[0].to_pylist()])
        table = table.set_column(0, table.column_names[0], ids)
        if side == "items":
            table = table.set_column(1, "title", pa.array([ODD] * len(table)))
        with pa.BufferOutputStream() as sink:
            pq.write_table(table, sink)
            content = sink.getvalue().to_pybytes()
        records[f"{side}.parquet"] = dataset.folder.write_bytes(f"{side}.parquet", content, rows=len(table))
    files = tuple(records.get(record.name, record) for record in dataset.manifest.files)
    dataset.folder.write_bytes(MANIFEST, dataset.manifest.model_copy(update={"files": files}).to_bytes())
    dataset = Dataset.open(dataset.folder.url)
    write_merged(mf_run(dataset), dataset, root / "model")
    return str(root / "model")


@pytest.mark.parametrize("locale", [ASCII, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"}])
def test_signs_that_a_terminal_lacks_are_escaped(odd, tmp_path, locale):
    code, out, err = run("recommend", odd, "--user", "é\x1b[31mu1", "-o", tmp_path / "lists.json", **locale)

    assert (code, err) == (0, NOTE)
    assert b"\\u5343" in out
    assert b"\\U0001f600" in out
    assert b"[REC]" in out
    assert b"\x1b" not in out
    widths = {len(line) for line in out.splitlines()[1:]}
    assert len(widths) == 1, "the table is laid out with the escapes"
    (listed,) = json.loads((tmp_path / "lists.json").read_text("utf-8"))
    assert "千と千尋" in listed["items"][0]["title"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("similar", "MODEL", "--item", "é\x1b[31mi3"),
        ("similar", "MODEL", "--user", "é\x1b[31mu3"),
        ("recommend", "MODEL", "--user", "é\x1b[31mu1"),
    ],
)
def test_no_control_character_reaches_a_terminal(odd, arguments):
    for locale in ({}, ASCII):
        code, out, err = run(*(odd if one == "MODEL" else one for one in arguments), **locale)

        assert (code, err) == (0, NOTE if "recommend" in arguments else "")
        assert not set(out) & (set(range(0x20)) - {0x0A})
        assert b"\xe2\x80\xae" not in out, "what turns the direction of text"


@pytest.mark.parametrize("locale", [{}, ASCII])
def test_an_error_is_as_harmless(odd, locale):
    code, out, err = run("recommend", odd, "--user", "née\x1b[2J\x07", **locale)

    assert (code, out) == (2, b"")
    assert "\x1b" not in err
    assert ("n\\xe9e" if locale else "née") in one_line(err)


def test_a_header_and_a_name_of_a_file_are_shown_without_their_control_characters(tmp_path):
    name = "ra\x1b]0;owned\x07tings.csv"
    (tmp_path / name).write_text(RATINGS.replace("user,", "us\x1b[31mer,").replace("item,", "it\x9bem,"))

    for target in (tmp_path / name, tmp_path / f"missing-{name}"):
        _, out, err = run("inspect", target)
        for printed in (out.decode(), err):
            assert not {"\x1b", "\x07", "\x9b"} & set(printed)
    _, out, _ = run("inspect", tmp_path / name)
    assert "us\N{REPLACEMENT CHARACTER}[31mer" in out.decode()
    assert r'user: "us\e[31mer"' in out.decode(), "the settings name the column as it is"


def test_warnings_and_settings_are_as_harmless(tmp_path):
    (tmp_path / "bad.yaml").write_text("model: {kind: mf}\ndataset: d\nrun_dir: r\n")
    code, _, err = run("train", "--config", tmp_path / "bad.yaml", "mo\x1b[31mdel.factors=3", "seed\x07=1")

    assert code == 2
    assert not {"\x1b", "\x07"} & set(one_line(err))


def test_bytes_of_a_name_that_are_no_text_are_no_defect(folders, tmp_path):
    written = os.fsencode(tmp_path) + b"/l\xe9.json"
    code, _, _ = run("recommend", folders["MF"], "--user", "u1", "--output", written)
    assert code == 0
    assert len(json.loads(Path(os.fsdecode(written)).read_text("utf-8"))[0]["items"]) == 10

    ratings = os.fsencode(tmp_path) + b"/r\xe9.csv"
    Path(os.fsdecode(ratings)).write_text(RATINGS)
    for arguments, reason in [
        (("inspect", ratings), "is not valid UTF-8; rename the file"),
        (("recommend", b"m\xe9", "--user", "u1"), "there is no folder m\N{REPLACEMENT CHARACTER}"),
        (
            ("recommend", folders["MF"], "--user", b"\xe9"),
            r"is '\udce9', of type str; it contains half of a surrogate",
        ),
    ]:
        code, _, err = run(*arguments)
        assert code == 2
        assert reason in one_line(err)


def test_a_file_of_any_name_is_written(folders, tmp_path):
    for name in ("a:b.json", "a\\b.json", "a\nb.json", "-o.json"):
        code, _, err = run("recommend", folders["MF"], "--user", "u1", "--output", tmp_path / name)
        assert (code, err) == (0, NOTE)
        assert (tmp_path / name).exists()


@pytest.mark.parametrize("text", ["é\u3000\u00a0x", "می\u200cخواهم", "\U0001f469\u200d\U0001f52c"])
def test_what_words_are_written_with_is_shown(text):
    assert printable(text) == text


def test_commands_of_a_notebook_print_neither_bars_nor_colours(folders, tmp_path):
    """Jupyter sets FORCE_COLOR for the commands that it runs, and shows what they write into a pipe."""
    arguments = ("recommend", folders["MF"], "--all-users", "-o", tmp_path / "lists.parquet")
    for given in (arguments, ("inspect", folders["MF"])):
        code, out, err = run(*given, FORCE_COLOR="1", TERM="xterm-color")
        assert code == 0
        assert "\x1b" not in out.decode() + err


def test_a_console_is_one_line_for_each_text(capsys):
    new_console().print("a\nb\rc\x00d\u2028e", soft_wrap=True)

    assert capsys.readouterr().out == "a\N{REPLACEMENT CHARACTER}b{0}c{0}d{0}e\n".format(
        "\N{REPLACEMENT CHARACTER}"
    )


def no_room(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 2
    return one_line(capsys.readouterr().err)


@pytest.mark.parametrize("failing", ["write", "fsync"])
@pytest.mark.parametrize("case", WRITING)
def test_a_full_disk_names_the_file_and_leaves_nothing(capsys, folders, tmp_path, monkeypatch, case, failing):
    arguments, output = writing(folders, case, tmp_path)
    fill_up(monkeypatch, failing)

    assert told(capsys, *arguments) == f"{output}: No space left on device"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_merge_on_a_full_disk_names_the_file_of_the_model(tmp_path, monkeypatch, failing):
    dataset = small_dataset(tmp_path / "dataset", num_users=40, num_items=25, num_ratings=300)
    fill_up(monkeypatch, failing)

    with pytest.raises(OSError, match="No space left on device") as full:
        write_merged(mf_run(dataset), dataset, tmp_path / "model")

    # The part for which there was no room, where the model was to be.
    assert full.value.filename.startswith(f"{tmp_path}/model/")
    assert full.value.filename.endswith(".safetensors")
    assert [one.name for one in tmp_path.iterdir()] == ["dataset"]


@pytest.mark.parametrize("failing", ["write", "fsync"])
def test_a_preparation_that_cannot_begin_leaves_no_folder(capsys, folders, tmp_path, monkeypatch, failing):
    settings = tmp_path / "settings.yaml"
    settings.write_text("input: {columns: {user: user, item: item, rating: rating}}\n")
    fill_up(monkeypatch, failing)

    arguments = ("--config", str(settings), f"input.paths={folders['ratings.csv']}", f"output={tmp_path}/new")
    assert (
        told(capsys, "prepare", *arguments) == f"output: cannot write to {tmp_path}/new: No space left on device"
    )
    assert list(tmp_path.iterdir()) == [settings]


def fill_up(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    """Every new file has no room for what is written to it, or none when it is flushed to the disk."""
    if failing == "fsync":
        monkeypatch.setattr(os, "fsync", no_room)
        return
    make = tempfile.mkstemp

    def full(**place: Any) -> tuple[int, str]:
        descriptor, name = make(**place)
        os.close(descriptor)
        return os.open("/dev/full", os.O_WRONLY), name

    monkeypatch.setattr(tempfile, "mkstemp", full)


def test_lists_of_all_users_have_the_columns_of_those_of_one(capsys, folders, tmp_path):
    for name, columns in (("MF", ["std"]), ("AUTOREC", [])):
        with pytest.raises(SystemExit):
            main(["recommend", folders[name], "--all-users", "-o", str(tmp_path / "all.parquet"), "--top", "3"])
        table = pq.read_table(tmp_path / "all.parquet")
        users = load_model(folders[name]).user_ids.array.to_pylist()
        with pytest.raises(SystemExit):
            main(
                ["recommend", folders[name], "-o", str(tmp_path / "each.csv"), "--top", "3"]
                + [part for user in users for part in ("--user", user)]
            )
        rows = list(csv.DictReader((tmp_path / "each.csv").read_text().splitlines()))
        assert table.column_names == ["user_id", "rank", "item_id", "title", "score", *columns]
        for line, row in zip(table.to_pylist(), rows, strict=True):
            assert [line["user_id"], str(line["rank"]), line["item_id"]] == [
                row[n] for n in ("user_id", "rank", "item_id")
            ]
            assert (line["title"] or "") == row["title"]
            assert line["score"] == pytest.approx(float(row["score"]), abs=1e-4)
            assert all(line[column] == pytest.approx(float(row[column]), abs=1e-4) for column in columns)
    capsys.readouterr()


@pytest.mark.parametrize(("option", "has_titles"), [(["--user", "u3"], False), (["--item", "i3"], True)])
def test_no_table_has_an_empty_column_of_titles(capsys, folders, option, has_titles):
    with pytest.raises(SystemExit):
        main(["similar", folders["MF"], *option])

    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("┃"))
    names = [name.strip() for name in header.strip("┃").split("┃")]
    assert names == ["#", *(["title"] * has_titles), "id", "similarity"]


def test_a_model_without_titles_has_no_column_of_them(capsys, folders, monkeypatch):
    nothing = property(lambda catalog: pa.nulls(catalog.num_items, pa.string()))
    monkeypatch.setattr("recsys_dist.inference.catalog.Catalog.titles", nothing)
    for arguments in (["recommend", folders["MF"], "--user", "u1"], ["similar", folders["MF"], "--item", "i1"]):
        with pytest.raises(SystemExit):
            main(arguments)
        assert "title" not in capsys.readouterr().out


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    (tmp_path / "x").write_bytes(b"old")
    fill_up(monkeypatch, "write")

    with pytest.raises(OSError, match="No space left") as full:
        Folder(str(tmp_path)).write_bytes("x", b"new")

    assert full.value.filename == str(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["x"]
