"""What `inspect` proposes for a file is what `prepare` needs to read it, as it stands."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.cli import main
from recsys_dist.dataset.dataset import Dataset
from tests.support.contents import contents

ROWS = [(f"{n // 20 + 1}", f"{n * 7919 % 3000 + 1}", n % 5 + 1.0, 86_400 * (13_000 + n // 10)) for n in range(400)]


def movielens(path):
    rows = "".join(f"{u},{i},{r:.1f},{t}\r\n" for u, i, r, t in ROWS)
    path.write_text(f"userId,movieId,rating,timestamp\r\n{rows}", newline="")


def ml_1m(path):
    path.write_text("".join(f"{u}::{i}::{r:g}::{t}\n" for u, i, r, t in ROWS))


def netflix(path):
    lines = []
    for item in sorted({row[1] for row in ROWS}):
        lines.append(f"{item}:\n")
        lines += [f"{u},{r:g},{datetime.fromtimestamp(t, UTC):%Y-%m-%d}\n" for u, i, r, t in ROWS if i == item]
    path.write_text("".join(lines))


def parquet(path):
    user, item, rating, seconds = map(list, zip(*ROWS, strict=True))
    columns = {"stars": rating, "when": pa.array(seconds, pa.timestamp("s")), "product_id": item, "user": user}
    pq.write_table(pa.table({**columns, "when": columns["when"].cast(pa.timestamp("us"))}), path)


@pytest.mark.parametrize(
    ("name", "write"),
    [("ratings.csv", movielens), ("ratings.dat", ml_1m), ("data_1.txt", netflix), ("a.parquet", parquet)],
)
def test_prepare_runs_on_the_proposal_as_it_is(address, tmp_path, name, write):
    write(tmp_path / name)
    config, output = tmp_path / "proposed.yaml", tmp_path / "out"

    with pytest.raises(SystemExit, match=r"^0$"):
        main(["inspect", str(tmp_path / name), "--output", str(config)])
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["prepare", "--config", str(config), f"output={output}", f"cluster.address={address}"])

    dataset = Dataset.open(str(output), verify=True)
    assert {pair: value[:2] for pair, value in contents(dataset).items()} == {row[:2]: row[2:] for row in ROWS}
    assert dataset.manifest.rows.rejected == {}
