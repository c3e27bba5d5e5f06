"""Copies of files from behind URLs: fetched once, checked, shared, and never half there."""

from __future__ import annotations

import hashlib
import os
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from recsys_dist.errors import ConfigError, DataError
from recsys_dist.storage.file_cache import KEEP_DAYS
from recsys_dist.storage.folder import FileRecord, Folder

CONTENT = os.urandom(20_000)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_DIST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder() -> Iterator[Folder]:
    folder = Folder(f"memory://{uuid.uuid4()}")
    yield folder
    folder.remove()


@pytest.fixture
def record(folder: Folder) -> FileRecord:
    return folder.write_bytes("a.bin", CONTENT)


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The local names that files were downloaded to."""
    kind, names = type(fsspec.filesystem("memory")), []
    get_file = kind.get_file

    def counted(self, source, target, **options):
        names.append(target)
        return get_file(self, source, target, **options)

    monkeypatch.setattr(kind, "get_file", counted)
    return names


def files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_a_file_is_fetched_once_and_lies_under_its_hash(cache, folder, record, downloads):
    path = folder.local_copy(record)
    again = [folder.local_copy(record), Folder(folder.url).local_copy(record)]

    assert path.read_bytes() == CONTENT
    assert again == [path, path]
    assert len(downloads) == 1
    assert files(cache) == [path]
    assert path.name == hashlib.sha256(CONTENT).hexdigest()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
@pytest.mark.usefixtures("cache")
def test_a_damaged_copy_is_fetched_again(folder, record, damage):
    path = folder.local_copy(record)
    path.write_bytes(damage(CONTENT))

    assert Folder(folder.url).local_copy(record).read_bytes() == CONTENT


def test_what_is_damaged_at_its_source_is_refused_and_not_kept(cache, folder, record):
    folder.write_bytes("a.bin", bytes([CONTENT[0] ^ 1]) + CONTENT[1:])

    with pytest.raises(DataError, match=rf"{folder.url}/a\.bin is damaged"):
        folder.local_copy(record)
    assert files(cache) == []


def test_many_at_once_each_find_the_whole_file(cache, folder, record):
    found: list[bytes] = []

    def read() -> None:
        found.append(Folder(folder.url).local_copy(record).read_bytes())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [CONTENT] * 8
    assert len(files(cache)) == 1


def test_what_nobody_has_used_for_long_is_removed(cache, folder, record):
    beside = cache / record.sha256[:2]
    beside.mkdir(parents=True)
    long_ago = time.time() - (KEEP_DAYS + 1) * 86_400
    for name, age in (("old", long_ago), ("new", time.time())):
        (beside / name).write_bytes(b"")
        os.utime(beside / name, (age, age))
    path = folder.local_copy(record)
    os.utime(path, (long_ago, long_ago))
    Folder(folder.url).local_copy(record)

    assert {file.name for file in files(cache)} == {"new", record.sha256}
    assert path.stat().st_mtime > long_ago + 86_400


def test_a_cache_that_cannot_be_written_says_what_to_set(folder, record, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("RECSYS_DIST_CACHE", str(tmp_path / "file"))

    with pytest.raises(ConfigError, match=rf"cannot cache {folder.url}/a\.bin in .*RECSYS_DIST_CACHE$"):
        folder.local_copy(record)


def test_a_file_of_this_machine_is_its_own_copy(cache, tmp_path):
    record = Folder(str(tmp_path / "d")).write_bytes("a.bin", CONTENT)

    assert Folder(str(tmp_path / "d")).local_copy(record) == tmp_path / "d" / "a.bin"
    assert files(cache) == []
