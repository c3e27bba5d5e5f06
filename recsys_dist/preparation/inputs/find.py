"""Resolves the paths of the settings to input files.

A path is a file, a folder with all files below it, a zip archive with all files in it, one file of an archive as
`archive.zip/member`, or a glob that matches any of these except folders; each may be a URL.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from recsys_dist.dataset.manifest import Split
from recsys_dist.errors import DataError, StorageError
from recsys_dist.plain_text import is_utf8
from recsys_dist.preparation.inputs.archives import ARCHIVES, check_member, is_hidden, list_members
from recsys_dist.preparation.inputs.kinds import EXPORT
from recsys_dist.preparation.inputs.packing import packing_of, without_packing
from recsys_dist.preparation.inputs.sources import InputFile, stamp_of
from recsys_dist.preparation.inputs.table_formats import TableGuard
from recsys_dist.preparation.settings.input import FileFormat, FileSettings
from recsys_dist.storage.filesystem import Filesystem, reason
from recsys_dist.storage.holdings import why_absent

INTO_ARCHIVE = re.compile(
    rf"(?P<archive>.*?(?:{'|'.join(map(re.escape, ARCHIVES))}))/(?P<member>.+)", re.IGNORECASE | re.DOTALL
)
PARQUET_NAMES = (".parquet", ".pq")
JSON_NAMES = (".json", ".jsonl", ".ndjson")
OFFICE_MEMBER = "[Content_Types].xml"
GLOB_SIGNS = "*?["


def find_files(
    key: str, patterns: Iterable[str], settings: FileSettings, role: Split = "train"
) -> list[InputFile]:
    """The files that the paths match, each once, sorted by name.

    Raises `DataError` naming the settings' `key` if a path matches no file, or a table of an unsupported format.
    """
    found: dict[tuple[str, str | None], InputFile] = {}
    for pattern in patterns:
        for file in _Search(key, pattern, settings, role).files():
            place = (file.url, file.member)
            # A file that is named explicitly is not a part, even if it is also found in a folder.
            is_part = file.is_part and (place not in found or found[place].is_part)
            found[place] = replace(file, is_part=is_part)
    return sorted(found.values(), key=lambda file: file.name)


@dataclass(frozen=True)
class _Search:
    """One path of the settings, and the role of its files."""

    key: str
    pattern: str
    settings: FileSettings
    role: Split

    def files(self) -> Iterator[InputFile]:
        try:
            fs = Filesystem(self.pattern)
            if fs.call("isfile", fs.path):
                if self._is_parquet(fs.path):
                    TableGuard(self.key, fs).check_file(fs.path, self.pattern)
                yield from self._file(fs, fs.path, self.pattern, is_part=False)
            elif fs.call("isdir", fs.path):
                yield from self._folder(fs)
            else:
                yield from self._matching(fs)
        except StorageError as error:
            raise DataError(f"{self.key}: {error}") from error
        except (OSError, ValueError) as error:
            raise DataError(f"{self.key}: cannot open {self.pattern}: {reason(error)}") from error

    def _matching(self, fs: Filesystem) -> Iterator[InputFile]:
        """The files of a path that does not exist as such: an archive member or a glob."""
        path, wanted = _split_archive(fs.path)
        if wanted is not None and fs.call("isfile", path):
            archive, _ = _split_archive(self.pattern)
            yield from self._members(fs, path, archive, wanted)
            return
        is_glob = any(sign in self.pattern for sign in GLOB_SIGNS)
        matches = sorted(str(match) for match in fs.call("glob", fs.path)) if is_glob else []
        matches = [match for match in matches if fs.call("isfile", match)]
        if not matches:
            why = "" if is_glob or not fs.is_local else _file_above(fs) or why_absent(Path(self.pattern))
            raise DataError(f"{self.key}: there is no file {self.pattern}{why}")
        guard = TableGuard(self.key, fs)
        for match in matches:
            name = self._shown(fs, match)
            if self._is_parquet(match):
                guard.check_file(match, name)
            yield from self._file(fs, match, name, is_part=True)

    def _folder(self, fs: Filesystem) -> Iterator[InputFile]:
        folder, name = fs.path.rstrip("/"), self.pattern.rstrip("/")
        below = sorted(str(path).removeprefix(folder).lstrip("/") for path in fs.call("find", folder))
        guard = TableGuard(self.key, fs)
        guard.check_below(name, below)
        shown = [path for path in below if not is_hidden(path)]
        if not shown:
            raise DataError(f"{self.key}: the folder {self.pattern} holds no files")
        if any(map(self._is_parquet, shown)):
            guard.check_above(os.path.realpath(folder) if fs.is_local else folder, name)
        for path in shown:
            yield from self._file(fs, f"{folder}/{path}", f"{name}/{path}", is_part=True)

    def _is_parquet(self, path: str) -> bool:
        return _format_of(path, self.settings.format) == "parquet"

    def _file(self, fs: Filesystem, path: str, name: str, is_part: bool) -> Iterator[InputFile]:
        if path.lower().endswith(ARCHIVES):
            yield from self._members(fs, path, name, wanted=None)
            return
        size, stamp = stamp_of(fs, path)
        if size is None:
            raise DataError(f"{self.key}: the server does not report the size of {path}; download the file first")
        yield self._input_file(fs, path, name, size, stamp, None, is_part)

    def _members(self, fs: Filesystem, path: str, name: str, wanted: str | None) -> Iterator[InputFile]:
        _, stamp = stamp_of(fs, path)
        with fs.reader(path, name) as stream:
            members = list_members(stream, name, self.settings.max_bytes)
        if any(member.filename == OFFICE_MEMBER for member in members):
            raise DataError(f"{name} is an Office document such as xlsx, {EXPORT}")
        chosen = [member for member in members if _is_wanted(member.filename, wanted)]
        if not chosen:
            shown = ", ".join(member.filename for member in members)[:200]
            what = "no files" if wanted is None else f"no file {wanted}"
            raise DataError(f"{self.key}: {name} holds {what}; it holds: {shown or 'nothing'}")
        for member in chosen:
            member_name = f"{name}/{member.filename}"
            check_member(member, member_name)
            is_part = member.filename != wanted
            yield self._input_file(fs, path, member_name, member.file_size, stamp, member.filename, is_part)

    def _input_file(
        self, fs: Filesystem, path: str, name: str, num_bytes: int, stamp: str, member: str | None, is_part: bool
    ) -> InputFile:
        if not is_utf8(name):
            raise DataError(f"{self.key}: the name of {name} is not valid UTF-8; rename the file")
        url = path if fs.is_local else str(fs.call("unstrip_protocol", path))
        inner_name = member or path
        packing = packing_of(inner_name) if self.settings.format != "parquet" else None
        file_format = _format_of(without_packing(inner_name), self.settings.format)
        if file_format == "parquet" and (packing or member):
            raise DataError(f"{name}: a packed Parquet file cannot be read in parts; unpack it first")
        limit = self.settings.max_bytes
        return InputFile(name, url, num_bytes, file_format, self.role, packing, member, limit, stamp, is_part)

    def _shown(self, fs: Filesystem, path: str) -> str:
        """A match of a glob, absolute or relative like the glob."""
        if not fs.is_local:
            return str(fs.call("unstrip_protocol", path))
        return path if Path(self.pattern).is_absolute() or "://" in self.pattern else os.path.relpath(path)


def _file_above(fs: Filesystem) -> str:
    """The end of the error for a path that continues below a file, such as a tar archive; else empty."""
    above = next((folder for folder in Path(fs.path).parents if folder.exists()), None) if fs.is_local else None
    if above is None or not above.is_file():
        return ""
    return f": {above} is a file, and paths can only continue into zip archives"


def _split_archive(path: str) -> tuple[str, str | None]:
    """Split `a/b.zip/c/d.csv` into `a/b.zip` and `c/d.csv`; the second is None outside archives."""
    if (found := INTO_ARCHIVE.fullmatch(path)) is not None:
        return found["archive"], found["member"]
    return path, None


def _is_wanted(member: str, wanted: str | None) -> bool:
    """Whether a name or glob in the archive matches this member; None matches all that are not hidden."""
    if member == wanted:
        return True
    return not is_hidden(member) and (wanted is None or fnmatchcase(member, wanted))


def _format_of(name: str, file_format: FileFormat) -> Literal["csv", "parquet", "json"]:
    if file_format != "auto":
        return file_format
    if name.lower().endswith(JSON_NAMES):
        return "json"
    return "parquet" if name.lower().endswith(PARQUET_NAMES) else "csv"
