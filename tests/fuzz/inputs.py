"""Damaged rating files through `inspect` and `prepare`: CSV, JSON Lines, Parquet, gzip and zip.

python -m tests.fuzz.inputs --count 2000 --seed 0
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutations import mutate
from tests.fuzz.report import report_faults
from tests.fuzz.trials import Fault, output_of, try_commands

NUM_ROWS = 60
SEPARATORS = (",", "::", "\t", ";", "|")


def damaged_files(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names and contents, the same for the same seed; each kind in turn."""
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        kind = KINDS[number % len(KINDS)]
        yield kind(rng)


def try_files(folder: Path, count: int, seed: int, deadline_s: float) -> Iterator[Fault | None]:
    """Inspect and prepare each; None where nothing is wrong."""
    _require_sound(folder, deadline_s)
    for number, (name, content) in enumerate(damaged_files(count, seed)):
        work = folder / f"{number:05d}"
        work.mkdir()
        (work / name).write_bytes(content)
        yield try_commands(f"{number} {name}", work, _commands(name), ["mine.yaml", "out", "own"], deadline_s)


def _require_sound(folder: Path, deadline_s: float) -> None:
    """Undamaged files are prepared: the commands do reach what they are meant to try."""
    rng = np.random.default_rng(0)
    text = _text(rng)
    sound = {"a.csv": text, "a.parquet": _table(rng), "a.csv.zip": _zip(text), "a.csv.zst": _zstd(text)}
    sound["a.jsonl"] = _objects(rng)
    for number, (name, content) in enumerate(sound.items()):
        work = folder / f"sound-{number}"
        work.mkdir()
        (work / name).write_bytes(content)
        output = output_of(work, _commands(name)[:2], deadline_s)
        assert "Prepared dataset" in output, output
        assert "error:" not in output, output


def _commands(name: str) -> list[list[str]]:
    own = {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}
    settings = [f"input.paths=[{json.dumps(name)}]", "input.columns=" + json.dumps(own), "output=own"]
    config = str(Path(__file__).resolve().parents[2] / "configs/prepare_movietweetings.yaml")
    return [
        ["inspect", name, "--output", "mine.yaml"],
        ["prepare", "--config", "mine.yaml", "output=out", "split.kind=random", "ratings.max_rejected=1"],
        ["prepare", "--config", config, *settings, "input.header=true", "input.separator=,", "items=null"],
    ]


def _text(rng: np.random.Generator) -> bytes:
    separator = SEPARATORS[rng.integers(len(SEPARATORS))]
    names = ["user", "item", "rating", "timestamp"][: int(rng.integers(3, 5))]
    quote = '"' if len(separator) == 1 and rng.random() < 0.4 else ""
    rows = [names] if rng.random() < 0.7 else []
    for _ in range(NUM_ROWS):
        row = [
            f"u{rng.integers(9)}",
            f"é{rng.integers(9)}",
            f"{rng.integers(1, 11) / 2}",
            f"{10**9 + rng.integers(99)}",
        ]
        rows.append([f"{quote}{field}{quote}" for field in row[: len(names)]])
    return "".join(separator.join(row) + "\n" for row in rows).encode()


def _table(rng: np.random.Generator) -> bytes:
    users = pa.array([f"u{number}" for number in rng.integers(0, 9, NUM_ROWS)])
    columns = {
        "user": users.dictionary_encode() if rng.random() < 0.3 else users,
        "item": pa.array(rng.integers(0, 9, NUM_ROWS)),
        "rating": pa.array(rng.integers(1, 11, NUM_ROWS) / 2),
        "timestamp": pa.array(10**9 + rng.integers(0, 99, NUM_ROWS)),
    }
    if rng.random() < 0.3:
        columns["timestamp"] = columns["timestamp"].cast(pa.timestamp("s")).cast(pa.timestamp("us"))
    sink = io.BytesIO()
    compression = ("snappy", "zstd", "none", "gzip")[rng.integers(4)]
    pq.write_table(pa.table(columns), sink, compression=compression, row_group_size=int(rng.integers(7, NUM_ROWS)))
    return sink.getvalue()


def _objects(rng: np.random.Generator) -> bytes:
    is_text = rng.random() < 0.5
    rows = []
    for _ in range(NUM_ROWS):
        row = {"user": f"u{rng.integers(9)}" if is_text else int(rng.integers(9)), "item": f"é{rng.integers(9)}"}
        row |= {"rating": int(rng.integers(1, 11)), "timestamp": int(10**9 + rng.integers(99))}
        rows.append(json.dumps({**row, "note": [{"a": None}]}, ensure_ascii=bool(rng.random() < 0.5)))
    return "".join(f"{row}\n" for row in rows).encode()


def _json(rng: np.random.Generator) -> tuple[str, bytes]:
    return "a.jsonl", mutate(_objects(rng), rng)


def _csv(rng: np.random.Generator) -> tuple[str, bytes]:
    return "a.csv", mutate(_text(rng), rng)


def _parquet(rng: np.random.Generator) -> tuple[str, bytes]:
    return "a.parquet", mutate(_table(rng), rng)


def _packed(suffix: str, pack: Callable[[bytes], bytes]) -> Callable[[np.random.Generator], tuple[str, bytes]]:
    """Damaged before it is packed, or after."""

    def make(rng: np.random.Generator) -> tuple[str, bytes]:
        text = _text(rng)
        content = pack(mutate(text, rng)) if rng.random() < 0.3 else mutate(pack(text), rng)
        return f"a.csv{suffix}", content

    return make


def _zip(text: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", text)
        archive.writestr("b/c.csv", text)
    return sink.getvalue()


def _zstd(text: bytes) -> bytes:
    return pa.compress(text, codec="zstd", asbytes=True)


KINDS = (
    *(_csv, _parquet, _packed(".gz", gzip.compress), _packed(".zip", _zip)),
    *(_csv, _parquet, _packed(".bz2", bz2.compress), _packed(".zst", _zstd)),
    _json,
)

if __name__ == "__main__":
    report_faults(try_files)
