"""Preparation as a whole, on a real scheduler and two worker processes that all tests of this file share."""

import bz2
import gzip
import hashlib
import itertools
import os
import signal
import socket
import threading
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import MANIFEST, SIDES, SPLITS
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation import collection
from recsys_dist.preparation.cluster import cluster
from recsys_dist.preparation.collection import default_shards
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.support.contents import contents, digests, rejects

HEADER = "user,item,rating,timestamp\n"
NAMED = {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}


@pytest.fixture
def run(address, tmp_path):
    def call(paths, output="out", progress=None, **changes):
        """Prepare CSV with a header by default; `changes` are keys of the configuration, `input` merged."""
        tree = {
            "input": {"paths": [str(path) for path in paths], "columns": NAMED, **changes.pop("input", {})},
            "split": {"kind": "random", "test": 0.2, "valid": 0.1, "seed": 3},
            "shards": {"users": 4, "items": 3},
            "output": str(tmp_path / output),
            "cluster": {"address": address},
            **changes,
        }
        prepare(PrepareConfig.model_validate(tree), progress)
        return Dataset.open(str(tmp_path / output), verify=True)

    return call


def random_rows(num_rows=3000, seed=0):
    """Rows (user, item, rating, timestamp) with repeated pairs and ids that look alike."""
    rng = np.random.default_rng(seed)
    users = [f"{'0' * int(rng.integers(0, 3))}{rng.integers(0, 60)}" for _ in range(num_rows)]
    items = [f"{'é' * int(rng.integers(0, 2))}{rng.zipf(1.5) % 300}" for _ in range(num_rows)]
    ratings = (rng.integers(1, 11, num_rows) / 2).tolist()
    times = rng.integers(-5, 1000, num_rows).tolist()
    return list(zip(users, items, ratings, times, strict=True))


def write_rows(path, rows, line_end="\n"):
    path.write_text(HEADER + "".join(",".join(map(str, row)) + line_end for row in rows), newline="")
    return path


def settled(rows, keep="last"):
    """The plain reference: of each pair the last row by time, then by place; or the first."""
    best: dict[tuple[str, str], Any] = {}
    for user, item, rating, time in rows if keep == "last" else rows[::-1]:
        _, old = best.get((user, item), (None, time))
        if (old <= time) if keep == "last" else (old >= time):
            best[user, item] = (rating, time)
    return best


@pytest.mark.parametrize(
    ("num_ratings", "num_others", "shards"),
    [
        (10, 5, 4),
        (1_000_000, 3_000, 4),
        (2_000_000, 3_000, 8),
        (4_000_000, 3_000, 16),
        (27_000_000, 45_000, 16),
        (40_000_001, 45_000, 21),
        (100_000_000, 100_000, 34),
        (1_000_000_000, 5_000_000, 167),
    ],
)
def test_small_data_has_few_shards_and_no_shard_is_large(num_ratings, num_others, shards):
    assert default_shards(num_ratings, num_others) == shards


@pytest.mark.parametrize("least", [None, 6])
def test_the_rows_of_the_other_side_decide_about_the_number_of_shards(run, tmp_path, monkeypatch, least):
    changes = {"LEAST_SHARDS": 1, "USUAL_SHARDS": 1, "MOST_SHARD_RATINGS": 1, "RATINGS_OF_A_ROW": 1}
    for name, value in changes.items():
        monkeypatch.setattr(collection, name, value)
    rows = random_rows()
    rules = {} if least is None else {"min_item_ratings": least}
    dataset = run([write_rows(tmp_path / "ratings.csv", rows)], shards={}, ratings=rules)

    kept = sum(dataset.manifest.num_ratings.values())
    num_rows = len(rows) if least is None else kept
    assert dataset.num_users != dataset.num_items
    assert len(dataset.shards("users")) == -(-num_rows // dataset.num_items)
    assert len(dataset.shards("items")) == -(-dataset.manifest.num_ratings["train"] // dataset.num_users)


def test_the_dataset_holds_what_a_plain_reader_finds(run, tmp_path):
    rows = random_rows()
    dataset = run([write_rows(tmp_path / "ratings.csv", rows)])
    found, expected = contents(dataset), settled(rows)
    assert {pair: value[:2] for pair, value in found.items()} == expected
    assert dataset.manifest.num_ratings == Counter(value[2] for value in found.values())
    assert dataset.manifest.rows.rejected == {"duplicate": len(rows) - len(expected)}
    train = {pair: rating for pair, (rating, _, split) in found.items() if split == "train"}
    assert dataset.manifest.rating.mean == pytest.approx(np.mean(list(train.values())), rel=1e-12)
    assert (dataset.manifest.rating.min, dataset.manifest.rating.max) == (0.5, 5.0)
    ids = {side: dataset.ids(side).to_pylist() for side in SIDES}
    for position, side in enumerate(SIDES):
        counts = Counter(pair[position] for pair in train)
        assert dataset.num_train(side).tolist() == [counts[name] for name in ids[side]]
    popularity = [
        (-count, name.encode()) for count, name in zip(dataset.num_train("items"), ids["items"], strict=True)
    ]
    assert popularity == sorted(popularity)
    for side, other in zip(SIDES, SIDES[::-1], strict=True):
        by_row = {}
        for shard, rows_of_shard in enumerate(dataset.shards(side)):
            block = dataset.block(side, shard)
            assert (block.num_ratings, block.num_rows) == (rows_of_shard.num_ratings, rows_of_shard.num_rows)
            for row, (start, stop) in enumerate(itertools.pairwise(block.indptr), start=block.start):
                columns = block.indices[start:stop].tolist()
                assert columns == sorted(columns)
                for column, value in zip(columns, block.values[start:stop].tolist(), strict=True):
                    by_row[ids[side][row], ids[other][column]] = value
        assert by_row == (train if side == "users" else {(item, user): r for (user, item), r in train.items()})


def test_the_same_bytes_whatever_the_order_blocks_and_packing(run, tmp_path):
    rows = random_rows()
    # Half stars lie in less room on the way than other ratings, and blocks with and without others meet.
    for row, odd in ((77, -0.0), (1234, 0.3)):
        rows[row] = (*rows[row][:2], odd, rows[row][3])
    whole = run([write_rows(tmp_path / "ratings.csv", rows)], output="whole")
    manifest = (tmp_path / "whole" / MANIFEST).read_bytes()
    small_blocks = run([tmp_path / "ratings.csv"], output="blocks", input={"block_bytes": 4000})
    assert (tmp_path / "blocks" / MANIFEST).read_bytes() == manifest
    assert small_blocks.digest == whole.digest

    # Equally late ratings of one pair count by file, in the order of their full names, and row.
    (tmp_path / "folder" / "below").mkdir(parents=True)
    names = ("b.csv", "a.csv.gz", "c.parquet", "folder/below/d.csv.bz2", "folder/e.csv.zst", "f.zip")
    parts = [tmp_path / name for name in names]
    write_rows(parts[0], rows[500:1500], line_end="\r\n")
    text = HEADER + "".join(f'"{u}",{i},{r},{t}\n' for u, i, r, t in rows[:500])
    parts[1].write_bytes(gzip.compress(text.encode()))
    columns = [list(column) for column in zip(*rows[1500:2000], strict=True)]
    pq.write_table(pa.table(columns, names=list(NAMED)), parts[2], row_group_size=100)
    texts = [write_rows(tmp_path / "part", rows[start : start + 200]).read_bytes() for start in (2600, 2800)]
    parts[3].write_bytes(bz2.compress(texts[0]))
    with pa.CompressedOutputStream(str(parts[4]), "zstd") as stream:
        stream.write(texts[1])
    with zipfile.ZipFile(parts[5], "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(write_rows(tmp_path / "part", rows[2000:2300]), "x/1.csv")
        archive.writestr("x/2.csv.gz", gzip.compress(write_rows(tmp_path / "part", rows[2300:2600]).read_bytes()))
    given = [*parts[:3], tmp_path / "folder", parts[5]]
    for number, order in enumerate([given, given[::-1]]):
        packed = run(order, output=f"packed{number}", input={"block_bytes": 4096})
        assert digests(packed) == digests(whole)
        assert packed.manifest.split == whole.manifest.split
        assert packed.manifest.rows == whole.manifest.rows
    assert (tmp_path / "packed0" / MANIFEST).read_bytes() == (tmp_path / "packed1" / MANIFEST).read_bytes()

    # Where none are equally late, it does not matter where a row stands.
    untied = [(*row[:3], time) for time, row in enumerate(rows)]
    shuffled = [untied[i] for i in np.random.default_rng(1).permutation(len(rows))]
    one, other = (
        run([write_rows(tmp_path / f"{name}.csv", these)], output=name)
        for name, these in (("untied", untied), ("shuffled", shuffled))
    )
    assert digests(one) == digests(other)


@pytest.mark.parametrize("keep", ["last", "first"])
def test_of_equally_late_ratings_the_place_in_the_input_decides(run, tmp_path, keep):
    rows = [(*row[:3], row[3] % 2) for row in random_rows()]
    expected = settled(rows, keep)
    assert expected != settled(rows[::-1], keep)
    cuts = [0, 700, 1900, len(rows)]
    paths = [tmp_path / f"{number}.csv" for number in range(3)]
    for path, (start, stop) in zip(paths, itertools.pairwise(cuts), strict=True):
        write_rows(path, rows[start:stop])
    # One file is named relative to the working directory, which changes neither order nor outcome.
    named = [os.path.relpath(paths[2]), paths[0], paths[1]]
    for number, (order, block_bytes, users) in enumerate([(named, 1 << 20, 1), (named[::-1], 900, 7)]):
        dataset = run(
            order,
            output=f"out{number}",
            ratings={"duplicates": keep},
            input={"block_bytes": block_bytes},
            shards={"users": users, "items": 3},
        )
        assert {pair: value[:2] for pair, value in contents(dataset).items()} == expected


def core_of(rows, min_user, min_item):
    """The pairs that are left when what has too few ratings is taken out again and again."""
    pairs = set(settled(rows))
    while True:
        users, items = Counter(user for user, _ in pairs), Counter(item for _, item in pairs)
        left = {(user, item) for user, item in pairs if users[user] >= min_user and items[item] >= min_item}
        if left == pairs:
            return pairs
        pairs = left


def test_users_and_items_with_few_ratings_are_left_out_to_the_end(run, tmp_path):
    rows = random_rows(1500)
    path, expected = write_rows(tmp_path / "ratings.csv", rows), core_of(rows, 5, 6)
    assert 100 < len(expected) < len(settled(rows)) - 300
    reports = []
    for number, (block_bytes, users) in enumerate([(1 << 20, 1), (700, 9)]):
        dataset = run(
            [path],
            output=f"core{number}",
            ratings={"min_user_ratings": 5, "min_item_ratings": 6},
            input={"block_bytes": block_bytes},
            shards={"users": users, "items": 3},
        )
        found = contents(dataset)
        assert {pair: value[:2] for pair, value in found.items()} == {
            pair: settled(rows)[pair] for pair in expected
        }
        for place, side in enumerate(SIDES):
            assert set(dataset.ids(side).to_pylist()) == {pair[place] for pair in expected}
        counts = dataset.manifest.rows
        assert counts.read == len(rows) == counts.kept + sum(counts.rejected.values())
        assert counts.rejected == Counter(reason for *_, reason in rejects(dataset))
        assert {"duplicate", "too few ratings of the user", "too few ratings of the item"} == set(counts.rejected)
        refused = {line: (text, reason) for _, line, text, reason in rejects(dataset)}
        assert all(
            text.split(",")[:2] == [str(field) for field in rows[line - 2][:2]]
            for line, (text, _) in refused.items()
        )
        reports.append((found, refused))
        assert len(dataset.shards("users")) == users
        assert all(shard.num_rows for shard in dataset.shards("users"))
    assert reports[0] == reports[1]
    with pytest.raises(DataError, match=r"no rating remains with ratings\.min_user_ratings 999"):
        run([path], output="none", ratings={"min_user_ratings": 999})
    assert not (tmp_path / "none").exists()


def test_a_split_by_time_cuts_what_is_left_for_all_users_alike(run, tmp_path):
    rows = random_rows()
    path = write_rows(tmp_path / "ratings.csv", rows)
    rules, split = {"min_user_ratings": 9}, {"kind": "time", "test": 0.2, "valid": 0.1}
    by_fraction = run([path], ratings=rules, split=split)
    found = contents(by_fraction)
    assert set(found) == core_of(rows, 9, 1)
    times = {name: [time for _, time, split in found.values() if split == name] for name in SPLITS}
    assert max(times["train"]) < min(times["valid"]) <= max(times["valid"]) < min(times["test"])
    assert 0.19 < len(times["test"]) / len(found) <= 0.2
    assert 0.09 < len(times["valid"]) / len(found) <= 0.1
    rule = by_fraction.manifest.split.rule
    named = {"kind": "time", "test_from": rule["test_from"], "valid_from": rule["valid_from"]}
    again = run([path], "named", ratings=rules, split=named, shards={"users": 2}, input={"block_bytes": 900})
    assert contents(again) == found
    assert again.manifest.split.fingerprint == by_fraction.manifest.split.fingerprint


def test_the_last_ratings_of_each_user_are_left_out(run, tmp_path):
    rows = random_rows(800)
    dataset = run([write_rows(tmp_path / "r.csv", rows)], split={"kind": "leave_n_out", "test": 2, "valid": 1})
    of_user: dict[str, list[Any]] = {}
    for (user, _), (_, time, split) in contents(dataset).items():
        of_user.setdefault(user, []).append((time, split))
    for ratings in of_user.values():
        counts = Counter(split for _, split in ratings)
        assert counts["test"] == min(2, len(ratings) - 1)
        assert counts["valid"] == min(1, len(ratings) - 1 - counts["test"])
        ranks = [(time, SPLITS.index(split)) for time, split in ratings]
        assert [rank for _, rank in sorted(ranks)] == sorted(rank for _, rank in ranks)


def test_users_are_held_out_whole_and_stay_so_whatever_the_blocks_and_orders(run, tmp_path):
    rows = random_rows(4000)
    split = {"kind": "users", "test": 0.3, "valid": 0.2, "seed": 4}
    dataset = run([write_rows(tmp_path / "r.csv", rows)], split=split)
    found = contents(dataset)
    of_user: dict[str, set[str]] = {}
    for (user, _), (*_, name) in found.items():
        of_user.setdefault(user, set()).add(name)
    assert all(len(names) == 1 for names in of_user.values())
    assert {name for names in of_user.values() for name in names} == set(SPLITS)
    held_out = [user for user, names in of_user.items() if names != {"train"}]
    assert (dataset.num_train("users") == 0).sum() == len(held_out)
    turned = write_rows(tmp_path / "turned.csv", rows[::-1])
    again = run([turned], "turned", split=split, shards={"users": 2}, input={"block_bytes": 900})
    assert {pair: name for pair, (*_, name) in contents(again).items()} == {
        pair: name for pair, (*_, name) in found.items()
    }
    assert again.manifest.split.rule == {**split, "fold_in_share": 0.8}
    other = run([turned], "other", split={**split, "seed": 5})
    assert other.manifest.split.fingerprint != dataset.manifest.split.fingerprint


def test_refused_rows_are_listed_with_file_and_line_and_all_add_up(run, tmp_path):
    good = "".join(f"u{n % 7},i{n},3,{n}\n" for n in range(500))
    # Blocks of which not one row is accepted are among these.
    (tmp_path / "a.csv").write_text(HEADER + good + "u1,i1\n\nu1,,3,4\n" + "x\n" * 1000)
    (tmp_path / "b.csv").write_text(HEADER + "u1,new,9,1\nu1,i1,5,0\n")
    paths = [tmp_path / "b.csv", tmp_path / "a.csv"]
    dataset = run(paths, ratings={"min": 1, "max": 5}, input={"block_bytes": 256})
    assert rejects(dataset) == [
        (str(paths[1]), 502, "u1,i1", "wrong number of fields"),
        (str(paths[1]), 504, "u1,,3,4", "empty item id"),
        *((str(paths[1]), line, "x", "wrong number of fields") for line in range(505, 1505)),
        (str(paths[0]), 2, "u1,new,9,1", "rating out of range"),
        (str(paths[0]), 3, "u1,i1,5", "duplicate"),
    ]
    rows = dataset.manifest.rows
    assert (rows.read, rows.kept) == (1504, 500)
    assert rows.rejected == Counter(reason for *_, reason in rejects(dataset))
    assert (dataset.manifest.rating.min, dataset.manifest.rating.max) == (1, 5)


def test_more_refused_rows_than_allowed_stop_the_job(run, tmp_path):
    rows = [("u", f"i{number}", 3.0, number) for number in range(95)]
    path = write_rows(tmp_path / "ratings.csv", [*rows, rows[0], rows[1]])
    with path.open("a") as stream:
        stream.write("u,i95,x,1\nu,,3,1\nu,i96,y,1\n")
    # 3 of 100 rows are unusable; the two repeated pairs are not counted.
    assert run([path], ratings={"max_rejected": 0.03}).manifest.rows.kept == 95
    message = (
        r"3 of 100 rows are not valid ratings, more than ratings\.max_rejected 0\.02 allows; "
        r"rating is not a finite number 2, empty item id 1; "
        r"first: .*ratings\.csv line 99: rating is not a finite number: 'u,i95,x,1'$"
    )
    with pytest.raises(DataError, match=message):
        run([path], output="strict", ratings={"max_rejected": 0.02})
    assert not (tmp_path / "strict").exists()


def test_mean_and_error_of_repeated_pairs(run, tmp_path):
    rows = [("u", "i", 1.0, 5), ("u", "j", 3.0, 5), ("u", "i", 2.0, 9), ("u", "i", 4.5, 7)]
    path = write_rows(tmp_path / "ratings.csv", rows)
    only_train = {"kind": "random", "test": 0, "valid": 0}
    dataset = run([path], ratings={"duplicates": "mean"}, split=only_train)
    assert contents(dataset) == {("u", "i"): (2.5, 9, "train"), ("u", "j"): (3.0, 5, "train")}
    with pytest.raises(DataError, match=r"user 'u' rates item 'i' twice: .*ratings.csv line 2 and .* line 4"):
        run([path], output="error", ratings={"duplicates": "error"})
    assert not (tmp_path / "error").exists()


def test_files_split_never_trains_on_a_tested_pair(run, tmp_path):
    rows = random_rows(400)
    train = write_rows(tmp_path / "train.csv", [*rows[:300], ("u", "both", 5.0, 9), ("u", "other", 1.0, 1)])
    test = write_rows(tmp_path / "test.csv", [*rows[300:], ("u", "both", 2.0, 1)])
    split = {"kind": "files", "train": str(train), "test": str(test), "valid": 0.25}
    dataset = run([], split=split)
    found = contents(dataset)
    assert found["u", "both"] == (2.0, 1, "test")
    assert {pair for pair, value in found.items() if value[2] == "test"} == {row[:2] for row in rows[300:]} | {
        ("u", "both")
    }
    assert 20 < sum(value[2] == "valid" for value in found.values()) < 120
    rejected = dataset.manifest.rows.rejected
    assert rejected["pair is held out for testing or validation"] >= 1
    assert sum(rejected.values()) + dataset.manifest.rows.kept == 403
    with pytest.raises(ConfigError, match="named for more than one split"):
        run([], output="twice", split={**split, "train": [str(train), str(test)]})


def test_the_split_of_a_pair_does_not_depend_on_the_other_rows(run, tmp_path):
    rows = random_rows()
    everything = contents(run([write_rows(tmp_path / "all.csv", rows)], output="all"))
    half = contents(run([write_rows(tmp_path / "half.csv", rows[::2])], output="half"))
    assert {pair: value[2] for pair, value in half.items()} == {pair: everything[pair][2] for pair in half}
    other_seed = run([tmp_path / "all.csv"], output="seed", split={"kind": "random", "test": 0.2, "seed": 4})
    assert any(value[2] != everything[pair][2] for pair, value in contents(other_seed).items())


WHICH = "so their items have no title; the first is "


def test_titles_are_found_by_exact_id(run, tmp_path, caplog):
    ratings = write_rows(tmp_path / "ratings.csv", [("u", "07", 3.0, 1), ("u", "7", 4.0, 1), ("v", "8", 4.0, 1)])
    titles = tmp_path / "titles.dat"
    titles.write_bytes("7|Amélie\n07|Le fabuleux destin\n07|again\n9|unrated\n".encode("latin-1"))
    items = {
        "paths": str(titles),
        "separator": "|",
        "header": False,
        "encoding": "latin-1",
        "columns": {"item": 0, "title": 1},
    }
    dataset = run([ratings], items=items)
    names = dict(zip(dataset.ids("items").to_pylist(), dataset.titles.to_pylist(), strict=True))
    assert names == {"7": "Amélie", "07": "Le fabuleux destin", "8": None}
    titles.write_bytes("7|Amélie\n8|a|b\n9|c\n".encode("latin-1"))
    dataset = run([ratings], output="bad", items=items)
    names = dict(zip(dataset.ids("items").to_pylist(), dataset.titles.to_pylist(), strict=True))
    assert names == {"7": "Amélie", "07": None, "8": None}
    assert (
        f"1 line of items.paths cannot be read, {WHICH}{titles} line 2: wrong number of fields: '8|a|b'"
        in caplog.text
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"ratings\.csv is empty"),
        (HEADER, r"ratings\.csv has no rows"),
        (
            HEADER + "u,i,x,1\nu,i\n",
            r"none of 2 rows .*ratings\.csv line 2: rating is not a finite number: 'u,i,x,1'",
        ),
        ("who,what,stars\nu,i,3\n", r"input\.columns\.user: .* no column 'user'; its header is: who, what, stars"),
    ],
)
def test_unusable_input_is_one_line_and_leaves_nothing(run, tmp_path, text, message):
    path = tmp_path / "ratings.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        run([path])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_missing_files_and_truncated_gzip_are_named(run, tmp_path):
    with pytest.raises(DataError, match=r"input\.paths: there is no file .*none\.csv"):
        run([tmp_path / "none.csv"])
    with pytest.raises(DataError, match=r"input\.paths: there is no file .*\*\.tsv"):
        run([tmp_path / "*.tsv"])
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"input\.paths: the folder .*folder holds no files"):
        run([tmp_path / "folder"])
    path = tmp_path / "ratings.csv.gz"
    text = HEADER + "".join(f"{n},{n * 7919 % 1013},3,{n}\n" for n in range(200_000))
    path.write_bytes(gzip.compress(text.encode())[:-1000])
    with pytest.raises(DataError, match=r"ratings\.csv\.gz is a damaged or truncated gzip file"):
        run([path])


def test_a_standing_dataset_is_replaced_only_on_request_and_only_by_a_good_one(run, tmp_path):
    good = write_rows(tmp_path / "good.csv", random_rows(200))
    bad = tmp_path / "bad.csv"
    bad.write_text(HEADER + "u,i,x,1\n")
    first = run([good])
    with pytest.raises(ConfigError, match="holds a prepared dataset; set overwrite to true"):
        run([good])
    with pytest.raises(DataError, match="none of 1 rows"):
        run([bad], overwrite=True)
    assert Dataset.open(str(tmp_path / "out"), verify=True).digest == first.digest
    (tmp_path / "out" / ".manifest.json.x1y2").write_text("left by a kill in the middle of a write")
    second = run([good], overwrite=True, split={"kind": "random", "test": 0.5})
    assert second.digest != first.digest
    on_disk = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert on_disk == {MANIFEST, "manifest.sha256", *(record.name for record in second.manifest.files)}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"holds other files \(thesis\.tex\)"):
        run([good], output="mine", overwrite=True)
    with pytest.raises((ConfigError, DataError), match=r"output: cannot (use|write to) .*good\.csv/out"):
        run([good], output="good.csv/out")


def test_sigterm_while_files_are_written_leaves_what_stood_there(run, tmp_path):
    path = write_rows(tmp_path / "good.csv", random_rows(200))
    first = run([path])
    before = signal.getsignal(signal.SIGTERM)

    def end(stage, done, *_):
        if stage == "write items" and done == 1:
            signal.raise_signal(signal.SIGTERM)

    changed = {"overwrite": True, "split": {"kind": "random", "test": 0.5}}
    for output in ("out", "fresh"):
        with pytest.raises(SystemExit) as caught:
            run([path], output, end, **changed)
        assert caught.value.code == 143
        assert signal.getsignal(signal.SIGTERM) is before
    assert Dataset.open(str(tmp_path / "out"), verify=True).digest == first.digest
    assert not (tmp_path / "fresh" / MANIFEST).exists()
    assert run([path], "out", **changed).digest == run([path], "fresh", **changed).digest
    assert not (tmp_path / "out" / "preparing").exists()


def test_an_absent_scheduler_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 1)
    tree = {
        "input": {"paths": str(write_rows(tmp_path / "r.csv", random_rows(10))), "columns": NAMED},
        "output": str(tmp_path / "out"),
        "cluster": {"address": "tcp://127.0.0.1:1"},
    }
    with pytest.raises(ConfigError, match=r"no scheduler answers at tcp://127\.0\.0\.1:1"):
        prepare(PrepareConfig.model_validate(tree))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"])
def test_what_listens_but_is_no_scheduler_is_named(tmp_path, monkeypatch, answer):
    monkeypatch.setattr(cluster, "CONNECT_TIMEOUT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        met = []

        def speak():
            met.append(listener.accept()[0])
            met[0].sendall(answer)

        speaker = threading.Thread(target=speak)
        speaker.start()
        tree = {
            "input": {"paths": str(write_rows(tmp_path / "r.csv", random_rows(10))), "columns": NAMED},
            "output": str(tmp_path / "out"),
            "cluster": {"address": address},
        }
        with pytest.raises(ConfigError, match=rf"no scheduler answers at {address}"):
            prepare(PrepareConfig.model_validate(tree))
        speaker.join()
        met[0].close()
    assert not (tmp_path / "out").exists()


def test_movietweetings_as_it_is_shipped():
    """The shipped copy is the published snapshot: 100,000 ratings of 16,554 users and 10,506 films."""
    folder = Path("tests/data/movietweetings")
    lines = gzip.decompress((folder / "ratings.dat.gz").read_bytes()).decode().splitlines()
    fields = [line.split("::") for line in lines]
    assert {len(row) for row in fields} == {4}
    assert (len(fields), len({row[0] for row in fields}), len({row[1] for row in fields})) == (
        100_000,
        16_554,
        10_506,
    )
    for name in ("ratings.dat.gz", "movies.dat.gz"):
        # No time of packing in the file: the same content gives the same bytes.
        assert (folder / name).read_bytes()[4:8] == b"\0\0\0\0", name
    assert hashlib.sha256((folder / "LICENSE").read_bytes()).hexdigest()
