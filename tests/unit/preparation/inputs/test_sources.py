"""Input files behind a URL whose filesystem fails, and errors that are not those of the input."""

from typing import Any

import fsspec
import pytest

from recsys_dist.errors import DataError
from recsys_dist.preparation.inputs.find import find_files
from recsys_dist.preparation.inputs.sources import open_file
from recsys_dist.preparation.output import Output
from recsys_dist.preparation.settings.input import FileSettings


class NoCredentials(fsspec.AbstractFileSystem):
    """An object store that refuses everything with an error of its own."""

    protocol = "locked"

    def info(self, *_arguments: Any, **_options: Any) -> None:
        raise ValueError("Unable to locate\ncredentials")

    ls = info


@pytest.mark.parametrize("name", ["a.csv", "*.csv"])
def test_an_object_store_without_credentials_is_one_line(name):
    fsspec.register_implementation("locked", NoCredentials, clobber=True)
    with pytest.raises(
        DataError, match=r"^input.paths: cannot use locked://bucket/.*\.csv: Unable to locate credentials$"
    ):
        find_files("input.paths", [f"locked://bucket/{name}"], FileSettings())


def test_an_output_without_credentials_is_told_once():
    fsspec.register_implementation("locked", NoCredentials, clobber=True)
    with pytest.raises(DataError, match=r"^cannot use locked://bucket/out: Unable to locate credentials$"):
        Output("locked://bucket/out", overwrite=False)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_a_full_disk_is_not_blamed_on_the_input(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    (file,) = find_files("input.paths", [str(tmp_path / name)], FileSettings())

    def copy_to_a_full_disk():
        with open_file(file):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        copy_to_a_full_disk()
