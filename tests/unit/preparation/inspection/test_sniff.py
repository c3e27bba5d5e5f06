"""Unknown files: what is found in them, what is only guessed, and that the proposal says so."""

from __future__ import annotations

import bz2
import gzip
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from recsys_dist.config import parse_settings
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation.inspection.proposal import to_yaml
from recsys_dist.preparation.inspection.sample import SAMPLE_BYTES
from recsys_dist.preparation.inspection.sniff import Sniffed, sniff
from recsys_dist.preparation.inspection.table_sample import TextTable
from recsys_dist.preparation.inspection.text_shape import TextShape
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.data.bad_inputs.make_files import CASES, FOLDER
from tests.field_cases.reading import parsed_sample


def ratings(num_rows: int = 400) -> list[tuple[int, int, float, int]]:
    """Rows (user, item, rating, seconds)."""
    return [(n // 20 + 1, n * 7919 % 3000 + 1, n % 10 / 2 + 0.5, 1_100_000_000 + 977 * n) for n in range(num_rows)]


def text(separator: str, header: str = "", num_rows: int = 400) -> str:
    rows = "".join(separator.join(map(str, row)) + "\n" for row in ratings(num_rows))
    return (header and header.replace(",", separator) + "\n") + rows


def day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def sniffed(path: Path) -> Sniffed:
    return sniff("input", str(path))


def text_table(found: Sniffed) -> TextTable:
    assert isinstance(found.table, TextTable)
    return found.table


def shape_of(found: Sniffed) -> TextShape:
    assert found.table.shape is not None
    return found.table.shape


def settings(found: Sniffed) -> PrepareConfig:
    tree = yaml.safe_load(to_yaml(found))
    return parse_settings(PrepareConfig, {**tree, "output": "out"}, source="proposed")


NAMED = {"user": "userId", "item": "movieId", "rating": "rating", "timestamp": "timestamp"}
PLACED = {"user": 0, "item": 1, "rating": 2, "timestamp": 3}
HEADER = "userId,movieId,rating,timestamp"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "::", " "])
@pytest.mark.parametrize("header", ["", HEADER])
def test_every_separator_with_and_without_a_header(tmp_path, separator, header):
    (tmp_path / "a.txt").write_text(text(separator, header))

    found = sniffed(tmp_path / "a.txt")

    proposed = settings(found).input
    assert (proposed.separator, proposed.header, proposed.layout) == (separator, bool(header), "plain")
    assert dict(proposed.columns) == (NAMED if header else PLACED)
    assert [role.is_guess for role in found.roles.values()] == [not header] * 4
    assert (parsed_sample(found).num_good, parsed_sample(found).refused.total(), found.table.num_lines) == (
        400,
        0,
        400 + bool(header),
    )
    assert (parsed_sample(found).lowest, parsed_sample(found).highest, found.table.total_rows(400)) == (
        0.5,
        5,
        400,
    )


def test_what_is_said_of_a_column(tmp_path):
    (tmp_path / "a.csv").write_text("who,movie,stars,tag\n9,b,3,\n10,a,4.5,\n9,c,-1,\n")
    who, movie, stars, tag = sniffed(tmp_path / "a.csv").columns
    assert (who.kind, who.num_distinct, who.smallest, who.largest, who.examples) == (
        *("whole numbers", 2, "9", "10"),
        ("9", "10"),
    )
    assert (movie.kind, movie.smallest, movie.largest, movie.examples) == ("text", "a", "c", ("b", "a", "c"))
    assert (stars.kind, stars.smallest, stars.largest) == ("decimals", "-1", "4.5")
    assert (tag.kind, tag.num_distinct, tag.smallest) == ("empty", 0, "")


def test_names_in_any_order_and_quotes_around_titles(tmp_path):
    lines = [f'{r},"{u}","Heat, part {i}",{day(t)}\n' for u, i, r, t in ratings()]
    (tmp_path / "a.csv").write_text("stars,User ID,title,date\n" + "".join(lines))
    found = sniffed(tmp_path / "a.csv")
    proposed = settings(found).input
    assert dict(proposed.columns) == {"user": "User ID", "item": "title", "rating": "stars", "timestamp": "date"}
    assert [field for field, role in found.roles.items() if role.is_guess] == ["item"]
    assert (proposed.quote, proposed.timestamp_format, parsed_sample(found).num_good) == ('"', "iso", 400)


def test_netflix_of_which_the_middle_is_looked_at_too(tmp_path):
    block = "".join(f"{user},{user % 5 + 1},2005-09-{user % 28 + 1:02d}\n" for user in range(1_000, 1_500))
    data = "".join(f"{item}:\n{block}" for item in range(1, 400))
    (tmp_path / "a.txt").write_text(data)

    found = sniffed(tmp_path / "a.txt")

    proposed = settings(found).input
    assert (proposed.layout, proposed.separator, proposed.timestamp_format) == ("netflix", ",", "iso")
    assert dict(proposed.columns) == {"user": 0, "item": None, "rating": 1, "timestamp": 2}
    assert len(text_table(found).sample.pieces) == 2
    assert text_table(found).sample.num_bytes < 2 * SAMPLE_BYTES
    assert parsed_sample(found).refused.total() == 0
    assert found.table.total_rows(parsed_sample(found).num_read) == pytest.approx(399 * 500, rel=0.02)


@pytest.mark.parametrize("packing", ["gzip", "bzip2", "zip"])
def test_packed_files_are_unpacked(tmp_path, packing):
    data = text(",", HEADER).encode()
    path = tmp_path / {"gzip": "a.csv.gz", "bzip2": "a.csv.bz2", "zip": "a.zip/in/a.csv"}[packing]
    if packing == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("in/a.csv", data)
    else:
        path.write_bytes((gzip.compress if packing == "gzip" else bz2.compress)(data))
    found = sniffed(path)
    assert (found.table.file.packing, found.table.file.member) == (
        (None, "in/a.csv") if packing == "zip" else (packing, None)
    )
    assert parsed_sample(found).num_good == 400
    assert settings(found).input.paths == (str(path),)


def test_of_an_archive_the_largest_file_is_proposed_where_others_are_unlike_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        archive.writestr("ml/README.txt", "Summary\n")
        archive.writestr("ml/ratings.csv", text(",", HEADER))
    found = sniffed(tmp_path / "ml.zip")
    assert settings(found).input.paths == (f"{tmp_path}/ml.zip/ml/ratings.csv",)
    assert found.num_files == 2
    assert "README.txt" in found.remarks[0]


def test_parquet(tmp_path):
    user, item, rating, seconds = map(list, zip(*ratings(), strict=True))
    moment = pa.array(seconds, pa.timestamp("s"))
    table = {
        "when": moment,
        "user_id": user,
        "parent_asin": list(map(str, item)),
        "rating": rating,
        "more": [[1]] * 400,
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet", row_group_size=150)
    found = sniffed(tmp_path / "a.parquet")
    columns = {"user": "user_id", "item": "parent_asin", "rating": "rating", "timestamp": "when"}
    assert dict(settings(found).input.columns) == columns
    assert (parsed_sample(found).num_good, found.table.total_rows(parsed_sample(found).num_read)) == (400, 400)


@pytest.mark.parametrize(("bom", "encoding"), [(b"\xef\xbb\xbf", "utf-8"), (b"", "latin-1")])
def test_encodings(tmp_path, bom, encoding):
    rows = "".join(f"Amélie {user},{item},{rating}\n" for user, item, rating, _ in ratings())
    (tmp_path / "a.csv").write_bytes(bom + f"user,item,rating\n{rows}".encode(encoding))
    found = sniffed(tmp_path / "a.csv")
    assert (shape_of(found).encoding, shape_of(found).has_bom) == (encoding, bool(bom))
    assert any("encoding is a guess" in remark for remark in found.remarks) == (encoding == "latin-1")
    assert dict(settings(found).input.columns) == {
        "user": "user",
        "item": "item",
        "rating": "rating",
        "timestamp": None,
    }
    assert parsed_sample(found).num_good == 400


def test_single_bad_lines_change_no_guess_and_are_counted(tmp_path):
    bad = "1,2,x,1100000000\n1,2,3\n,2,3,1100000000\n"
    (tmp_path / "a.csv").write_text(text(",", HEADER) + bad)
    found = sniffed(tmp_path / "a.csv")
    assert parsed_sample(found).num_good == 400
    assert parsed_sample(found).refused == {
        "rating is not a finite number": 1,
        "wrong number of fields": 1,
        "empty user id": 1,
    }
    assert found.columns[2].kind == "decimals"
    assert settings(found).ratings.max_rejected == 0.01


def test_decimal_commas_are_told(tmp_path):
    rows = "".join(f"{u};{i};{str(r).replace('.', ',')};{t}\n" for u, i, r, t in ratings())
    (tmp_path / "a.csv").write_text(rows)
    found = sniffed(tmp_path / "a.csv")
    assert (shape_of(found).separator, found.roles["rating"].column.position) == (";", 2)
    assert parsed_sample(found).num_good == 0
    assert any("decimal commas" in remark for remark in found.remarks)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        ("movieId,title,year\n" + "".join(f"{n},Film {n},{1900 + n % 90}\n" for n in range(300)), "rating"),
        ("a b c\n" * 50, "rating"),
        ("1:\n" + "".join(f"x{n},y{n}\n" for n in range(50)), "rating"),
        ("".join(f"5,{n % 5 + 1},2001-01-01\n" for n in range(50)), "item"),
    ],
)
def test_a_role_that_is_not_found_is_left_to_choose_and_refused_until_then(tmp_path, data, key):
    (tmp_path / "a.csv").write_text(data)
    found = sniffed(tmp_path / "a.csv")
    assert key in found.missing
    assert f"# {key}: choose" in to_yaml(found)
    with pytest.raises(ConfigError, match=rf"columns\.{key}\b.* is required"):
        settings(found)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b"\n" * 9000, "is empty"),
        (b"\xef\xbb\xbf", "empty"),
        (text(",").encode("utf-16"), "is UTF-16 text"),
        (text(",").encode("utf-16-le"), "binary or UTF-16"),
        (bytes(range(256)) * 20, "binary"),
        (b"%PDF-1.7 \x00\x01\x02" * 9, "is a PDF document"),
        (text(",").encode().replace(b"\n", b"\r"), "carriage returns"),
        (b"1,2,3," * SAMPLE_BYTES, "no line end"),
        (b"Some words\nand more of these words here\nthe end\n", "none of the separators"),
        (gzip.compress(b"1,2,3\n", mtime=0), "a gzip file, whose name should end in .gz"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, data, told):
    (tmp_path / "a.csv").write_bytes(data)
    with pytest.raises(DataError, match=told) as raised:
        sniffed(tmp_path / "a.csv")
    assert str(raised.value).startswith(f"{tmp_path}/a.csv ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_bad_file_is_a_proposal_or_one_line(case):
    problem = ""
    try:
        paths = yaml.safe_load(to_yaml(sniffed(FOLDER / case.name)))["input"]["paths"]
    except DataError as error:
        paths, problem = str(error), str(error)
    assert case.name in paths
    assert "\n" not in problem


def test_only_a_part_of_a_large_file_is_read(tmp_path):
    head = text(",", HEADER, num_rows=60_000).encode()
    with gzip.open(tmp_path / "a.csv.gz", "wb", compresslevel=1) as stream:
        stream.write(head)
    damaged = (tmp_path / "a.csv.gz").read_bytes()[:-100]
    (tmp_path / "a.csv.gz").write_bytes(damaged)
    found = sniffed(tmp_path / "a.csv.gz")
    assert found.table.extent == f"the first {text_table(found).sample.num_bytes:,} bytes"
    assert text_table(found).sample.num_bytes <= SAMPLE_BYTES
    assert found.table.total_rows(parsed_sample(found).num_read) is None


def test_a_line_too_long_for_a_row_spoils_only_itself(tmp_path):
    long_line = '"' + "x" * 200_000 + '",j,4\n'
    (tmp_path / "a.csv").write_text("user,item,rating\n" + "u,i,3\n" * 50 + long_line)
    sniffed = sniff("input", str(tmp_path / "a.csv"))
    assert list(sniffed.tree["columns"].values()) == ["user", "item", "rating"]
    assert sniffed.parsed is not None
    assert (sniffed.parsed.num_good, sniffed.parsed.refused.total()) == (50, 1)
