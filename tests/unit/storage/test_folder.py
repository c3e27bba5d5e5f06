"""A file is there whole or not at all, on disk and behind a URL; a damaged one is found and named."""

import io
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from pydantic import ValidationError

from recsys_dist.errors import DataError, StorageError
from recsys_dist.storage.folder import FileRecord, Folder


@pytest.fixture(params=["disk", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    if request.param == "disk":
        yield Folder(str(tmp_path / "new" / "folder"))
        return
    folder = Folder(f"memory://{uuid.uuid4()}")
    yield folder
    folder.remove()


def test_a_written_file_reads_back_and_its_record_verifies(folder: Folder) -> None:
    record = folder.write_bytes("blocks/users/0.bin", b"abc" * 1000, rows=7)

    folder.verify(record)

    assert record == folder.record("blocks/users/0.bin", rows=7)
    assert (record.bytes, record.rows) == (3000, 7)
    assert folder.read_bytes(record.name) == b"abc" * 1000
    assert folder.names() == ["blocks"]
    assert folder.child("blocks").child("users").names() == ["0.bin"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(folder: Folder) -> None:
    folder.write_bytes("state", b"old")

    def write_halfway() -> None:
        with folder.writer("state") as stream:
            stream.write(b"new")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        write_halfway()

    assert folder.read_bytes("state") == b"old"
    assert folder.names() == ["state"]


@pytest.mark.parametrize("name", ["state", "blocks/users/0.bin"])
def test_a_folder_that_is_removed_is_not_made_again_by_a_write(tmp_path: Path, name: str) -> None:
    folder = Folder(str(tmp_path / "runs" / "a"))
    folder.write_bytes("first", b"abc")
    shutil.rmtree(tmp_path / "runs")

    for write in (
        lambda: folder.write_bytes(name, b"abc"),
        lambda: folder.make_child("checkpoints"),
        lambda: folder.take(Folder(str(tmp_path)), name),
        lambda: Folder(str(tmp_path / "runs")).expect().write_bytes(name, b"abc"),
    ):
        with pytest.raises(
            StorageError, match=rf"^cannot write {tmp_path}/runs.*: its folder is missing; it was removed"
        ):
            write()

    assert not (tmp_path / "runs").exists()


def test_one_writer_does_not_publish_the_unfinished_file_of_another(folder: Folder) -> None:
    half_written, go_on = threading.Event(), threading.Event()

    def write_slowly() -> None:
        with folder.writer("slow") as stream:
            stream.write(b"first")
            half_written.set()
            assert go_on.wait(10)
            stream.write(b" second")

    slow = threading.Thread(target=write_slowly)
    slow.start()
    assert half_written.wait(10)
    folder.write_bytes("fast", b"done")
    seen = folder.exists("slow")
    go_on.set()
    slow.join()

    assert not seen
    assert folder.read_bytes("slow") == b"first second"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"abX", "damaged"), (b"ab", "has 2 bytes where 3 were recorded"), (None, "missing")],
)
def test_a_file_unlike_its_record_is_named(folder: Folder, content: bytes | None, complaint: str) -> None:
    record = folder.write_bytes("a.bin", b"abc")
    folder.remove("a.bin")
    if content is not None:
        folder.write_bytes("a.bin", content)

    with pytest.raises(DataError, match=rf"a\.bin .*{complaint}"):
        folder.verify(record)


@pytest.mark.parametrize(
    "name", ["", ".", "/etc/passwd", "../up", "a/../../b", "c:\\x", "a\\b", "s3://bucket/x", "a\0b", "a\nb"]
)
def test_a_record_cannot_lead_outside_its_folder(name: str) -> None:
    with pytest.raises(ValidationError, match="file name"):
        FileRecord(name=name, rows=0, bytes=0, sha256="0" * 64)


def test_missing_things_are_named_or_empty(folder: Folder) -> None:
    assert folder.names() == []
    assert not folder.exists("nothing")
    folder.remove("nothing")
    with pytest.raises(DataError, match=r"cannot read .*/nothing: no such file"):
        folder.read_bytes("nothing")


def test_an_unknown_kind_of_url_is_a_data_error() -> None:
    with pytest.raises(DataError, match="nosuch://bucket"):
        Folder("nosuch://bucket/run")


def test_a_file_taken_from_another_folder_is_whole_in_both(folder: Folder) -> None:
    new = folder.child("new")
    for name in ("a.bin", "blocks/users/0.bin"):
        new.write_bytes(name, name.encode())
        folder.take(new, name)
        # Again, as after a break.
        folder.take(new, name)

    assert folder.read_bytes("blocks/users/0.bin") == new.read_bytes("blocks/users/0.bin") == b"blocks/users/0.bin"
    new.remove()
    assert folder.read_bytes("a.bin") == b"a.bin"


def test_an_error_of_the_block_is_not_taken_for_one_of_the_file_it_reads(folder: Folder) -> None:
    folder.write_bytes("a.bin", b"abc")

    def copy_to_a_full_disk() -> None:
        with folder.open("a.bin") as stream:
            stream.read()
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        copy_to_a_full_disk()


class BrokenFiles(fsspec.AbstractFileSystem):
    """A server that answers nothing: its files open, but can be neither read nor listed."""

    protocol = "broken"

    def _open(self, *_arguments: Any, **_options: Any) -> io.BytesIO:
        return BrokenStream()

    def _fail(self, *_arguments: Any, **_options: Any) -> None:
        raise ValueError("no credentials;\ncall the desk")

    exists = ls = makedirs = put_file = info = _fail


class BrokenStream(io.BytesIO):
    def read(self, _size: int | None = -1) -> bytes:
        raise TimeoutError("the line is dead")

    def seek(self, _offset: int, _whence: int = 0) -> int:
        raise ValueError("no ranges")


@pytest.mark.parametrize(
    "use",
    [
        Folder.exists,
        Folder.names,
        Folder.make,
        Folder.remove,
        lambda folder: folder.write_bytes("a", b""),
        lambda folder: folder.check_size(FileRecord(name="a", rows=0, bytes=0, sha256="0" * 64)),
    ],
)
def test_a_filesystem_that_fails_in_its_own_way_is_one_line(use: Callable[[Folder], Any]) -> None:
    fsspec.register_implementation("broken", BrokenFiles, clobber=True)

    with pytest.raises(DataError, match=r"^cannot use broken://bucket/run(/a)?: no credentials; call the desk$"):
        use(Folder("broken://bucket/run"))


def test_a_stream_that_breaks_off_names_its_file() -> None:
    fsspec.register_implementation("broken", BrokenFiles, clobber=True)

    with Folder("broken://bucket").open("a") as stream:
        with pytest.raises(DataError, match=r"cannot read broken://bucket/a: the line is dead"):
            stream.read()
        with pytest.raises(DataError, match=r"cannot read broken://bucket/a: no ranges"):
            stream.seek(1)
