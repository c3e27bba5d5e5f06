"""The layouts that ratings come in, by the configurations shipped for them, and ids of every kind."""

from __future__ import annotations

import unicodedata
import zipfile
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.config import load_settings
from recsys_dist.dataset.dataset import Dataset
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.support.contents import contents, digests


@pytest.fixture
def run(address, tmp_path):
    def call(name, *overrides, output="out"):
        """Prepare by a shipped configuration."""
        fixed = [f"output={tmp_path / output}", f"cluster.address={address}", "split.test=0.3"]
        prepare(load_settings(PrepareConfig, f"configs/prepare_{name}.yaml", [*fixed, *overrides]))
        return Dataset.open(str(tmp_path / output), verify=True)

    return call


def rows(num_rows=300):
    """Rows (user, item, rating, day), each pair once; items repeat over many consecutive rows."""
    return [
        (f"{n * 7919 % 1000}", f"{n // 40 + 1}", float(n % 5 + 1), f"2005-09-{n % 28 + 1:02d}")
        for n in range(num_rows)
    ]


def seconds(day):
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())


def expected():
    return {(user, item): (rating, seconds(day)) for user, item, rating, day in rows()}


def found(dataset):
    return {pair: value[:2] for pair, value in contents(dataset).items()}


def netflix_text(part):
    """The rows of each item under its name, items in falling order."""
    items = sorted({row[1] for row in part}, key=int, reverse=True)
    blocks = ["".join(f"{u},{r:g},{day}\n" for u, i, r, day in part if i == item) for item in items]
    return "".join(f"{item}:\n{block}" for item, block in zip(items, blocks, strict=True))


def plain_text(separator, *, header=""):
    return header + "".join(
        f"{u}{separator}{i}{separator}{r:g}{separator}{seconds(day)}\n" for u, i, r, day in rows()
    )


def test_movielens_out_of_its_archive(run, tmp_path):
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml/README.txt", "Summary\n=======\n")
        archive.writestr("ml/ratings.csv", plain_text(",", header="userId,movieId,rating,timestamp\r\n"))
        archive.writestr("ml/movies.csv", 'movieId,title,genres\n1,"Heat, The (1995)",Drama\n2,"A ""B""",Comedy\n')
    dataset = run("movielens", f"input.paths={path}/ml/ratings.csv", f"items.paths={path}/ml/movies.csv")
    assert found(dataset) == expected()
    titles = dict(zip(dataset.ids("items").to_pylist(), dataset.titles.to_pylist(), strict=True))
    assert (titles["1"], titles["2"], titles["3"]) == ("Heat, The (1995)", 'A "B"', None)


def test_netflix_in_blocks_is_the_same_as_plain_rows(run, tmp_path):
    (tmp_path / "combined_data_1.txt").write_text(netflix_text(rows()[:220]))
    (tmp_path / "combined_data_2.txt").write_text(netflix_text(rows()[220:]))
    (tmp_path / "titles.csv").write_bytes("1,2003,Dinosaur Planet\n2,NULL,Amélie, or: 1, 2\n".encode("latin-1"))
    overrides = [f"input.paths={tmp_path}/combined_data_*.txt", f"items.paths={tmp_path}/titles.csv"]
    dataset = run("netflix", *overrides, "input.block_bytes=256")
    assert found(dataset) == expected()
    titles = dict(zip(dataset.ids("items").to_pylist(), dataset.titles.to_pylist(), strict=True))
    assert (titles["1"], titles["2"], titles["3"]) == ("Dinosaur Planet", "Amélie, or: 1, 2", None)
    (tmp_path / "plain.tsv").write_text(plain_text("\t"))
    plain = run("tsv", f"input.paths={tmp_path}/plain.tsv", output="plain")
    without_titles = {name: digest for name, digest in digests(dataset).items() if name != "items.parquet"}
    assert without_titles.items() <= digests(plain).items()


def test_csv_with_columns_by_name(run, tmp_path):
    (tmp_path / "a.csv").write_text(plain_text(",", header="user,item,rating,timestamp\n"))
    assert found(run("csv", f"input.paths={tmp_path}/a.csv")) == expected()


INTEGERS = [0, 7, 2**53 + 1, 2**53 + 2, 2**63 - 2, 2**63 - 1]
SIGNED = [-(2**63), -(2**63) + 1, -1, *INTEGERS]
UNSIGNED = [*INTEGERS, 2**63, 2**64 - 2, 2**64 - 1]
TEXTS = [
    "007",
    "07",
    "+7",
    "7.0",
    " 7",
    "7 ",
    "-0",
    "18446744073709551616",
    "1e3",
    "NA",
    "null",
    "True",
    "ß",
    "\u2603",
]
TEXTS += [unicodedata.normalize(form, "Amélie") for form in ("NFC", "NFD")] + ["ﬁ", "fi", "a\u200bb", "\U0001f600"]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_ids_of_every_kind_come_back_exactly(run, tmp_path, kind):
    ids = [str(number) for number in sorted({*SIGNED, *UNSIGNED})] + TEXTS
    if kind == "csv":
        text = "user,item,rating,timestamp\n" + "".join(f"{name},{name},3,1\n" for name in ids)
        (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    else:
        columns = {
            "signed": pa.array(SIGNED),
            "unsigned": pa.array(UNSIGNED, pa.uint64()),
            "text": pa.array(TEXTS),
        }
        for name, array in columns.items():
            ones = pa.array([1] * len(array))
            table = pa.table({"user": array, "item": array, "rating": ones, "timestamp": ones})
            pq.write_table(table, tmp_path / f"{name}.parquet")
    dataset = run("csv", f"input.paths={tmp_path}/*.{kind}")
    # The numbers that both kinds of integers hold are one user each, and one item.
    assert sorted(contents(dataset)) == sorted((name, name) for name in ids)
    assert sorted(dataset.ids("users").to_pylist()) == sorted(dataset.ids("items").to_pylist()) == sorted(ids)
    assert dataset.manifest.rows.rejected == ({} if kind == "csv" else {"duplicate": len(INTEGERS)})
