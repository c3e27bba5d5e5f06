"""Ratings added to a prepared dataset, against one prepared of all files at once."""

import itertools

import numpy as np
import pytest

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES
from recsys_dist.errors import ConfigError, DataError
from recsys_dist.preparation.prepare import prepare
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.support.contents import contents, rejects

NAMED = {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}
HEADER = "user,item,rating,timestamp\n"
SPLITS = {
    "random": {"kind": "random", "test": 0.2, "valid": 0.1, "seed": 3},
    "leave_n_out": {"kind": "leave_n_out", "test": 2, "valid": 1},
    "time": {"kind": "time", "test": 0.2, "valid": 0.1},
}


def write(path, rows):
    path.write_text(HEADER + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def day(number, num_rows, users, items, seed=0):
    """Ratings of one day; the same users and items come back, and their pairs."""
    rng = np.random.default_rng((seed, number))
    user = [f"u{u}" for u in rng.integers(users[0], users[1], num_rows)]
    item = [f"i{i}" for i in items[0] + rng.zipf(1.4, num_rows) % (items[1] - items[0])]
    times = (1000 * number + rng.integers(0, 1000, num_rows)).tolist()
    return list(zip(user, item, (rng.integers(1, 11, num_rows) / 2).tolist(), times, strict=True))


@pytest.fixture
def run(address, tmp_path):
    def call(paths, output="out", progress=None, **changes):
        tree = {
            "input": {"paths": [str(path) for path in paths], "columns": NAMED, "block_bytes": 20_000},
            "split": SPLITS["random"],
            "shards": {"users": 4, "items": 3},
            "output": str(tmp_path / output),
            "cluster": {"address": address},
            **changes,
        }
        prepare(PrepareConfig.model_validate(tree), progress)
        return Dataset.open(str(tmp_path / output), verify=True)

    return call


def require_sound_blocks(dataset):
    """The blocks of both sides hold the train ratings, in order."""
    ids = {side: dataset.ids(side).to_pylist() for side in SIDES}
    train = {pair: value[0] for pair, value in contents(dataset).items() if value[2] == "train"}
    for place, (side, other) in enumerate((SIDES, SIDES[::-1])):
        found: dict[tuple[str, str], float] = {}
        for number, shard in enumerate(dataset.shards(side)):
            block = dataset.block(side, number)
            assert (block.num_rows, block.num_ratings) == (shard.num_rows, shard.num_ratings)
            for row, (start, stop) in enumerate(itertools.pairwise(block.indptr), start=block.start):
                columns = block.indices[start:stop].tolist()
                assert columns == sorted(columns)
                pairs = [(ids[side][row], ids[other][column])[:: 1 - 2 * place] for column in columns]
                found.update(zip(pairs, block.values[start:stop].tolist(), strict=True))
        assert found == train
        counts = dict.fromkeys(ids[side], 0)
        for pair in train:
            counts[pair[place]] += 1
        assert dataset.num_train(side).tolist() == [counts[name] for name in ids[side]]


def ranges(shards):
    return [(shard.start, shard.stop) for shard in shards]


@pytest.mark.parametrize(
    ("split", "duplicates"), [("random", "first"), ("random", "last"), ("leave_n_out", "last"), ("time", "last")]
)
def test_what_is_added_comes_to_what_all_files_at_once_come_to(run, tmp_path, split, duplicates):
    rules = {"split": SPLITS[split], "ratings": {"duplicates": duplicates, "min": 1}}
    days = [day(1, 1500, (0, 60), (0, 150)), day(2, 600, (30, 80), (50, 200)), day(3, 40, (0, 3), (0, 9))]
    files = [write(tmp_path / f"day-{number}.csv", rows) for number, rows in enumerate(days)]
    dataset = run(files[:1], **rules)
    for number in (1, 2):
        before = {side: dataset.ids(side).to_pylist() for side in SIDES}
        digest, shards = dataset.digest, {side: dataset.shards(side) for side in SIDES}
        dataset = run(files[number : number + 1], append=True, **rules)
        whole = run(files[: number + 1], output=f"whole-{number}", **rules)
        assert contents(dataset) == contents(whole)
        assert dataset.manifest.split.fingerprint == whole.manifest.split.fingerprint
        assert dataset.manifest.rows == whole.manifest.rows
        assert dataset.manifest.rating.mean == pytest.approx(whole.manifest.rating.mean, rel=1e-12)
        assert sum(dataset.manifest.rows.rejected.values()) == len(rejects(dataset))
        for side in SIDES:
            assert dataset.ids(side).to_pylist()[: len(before[side])] == before[side]
            assert sorted(dataset.ids(side).to_pylist()) == sorted(whole.ids(side).to_pylist())
            old, new = (
                [(shard.start, shard.stop) for shard in part] for part in (shards[side], dataset.shards(side))
            )
            assert len(old) > 1
            assert new[: len(old) - 1] == old[:-1]
        require_sound_blocks(dataset)
        assert dataset.manifest.grown_from[-1].digest == digest
        assert not (tmp_path / "out" / "preparing").exists()
    assert len(dataset.manifest.grown_from) == 2


def test_a_file_that_is_appended_twice_is_refused_and_the_dataset_stays(run, tmp_path):
    base, more = (write(tmp_path / f"{n}.csv", day(n, 400, (0, 40), (0, 90))) for n in (1, 2))
    run([base])
    once = run([more], append=True)
    for again in (more, base):
        with pytest.raises(
            DataError, match=rf"append: {again} changes nothing in {tmp_path / 'out'}, .* appended before"
        ):
            run([again], append=True)
    assert Dataset.open(str(tmp_path / "out"), verify=True).manifest == once.manifest
    assert not (tmp_path / "out" / "preparing").exists()


def test_known_pairs_that_are_rated_otherwise_are_appended_and_told(run, tmp_path, caplog):
    rows = day(1, 400, (0, 40), (0, 90))
    run([write(tmp_path / "a.csv", rows)])
    user, item, _, timestamp = rows[0]
    run([write(tmp_path / "b.csv", [(user, item, 0.5, int(timestamp) + 10**6)])], append=True)
    assert f"{tmp_path / 'b.csv'} has no new (user, item) pairs for {tmp_path / 'out'}" in caplog.text


def test_shards_without_new_ratings_stay_as_they_are(run, tmp_path):
    base = run([write(tmp_path / "a.csv", day(1, 3000, (0, 200), (0, 150)))], shards={"users": 8, "items": 6})
    user, items = base.ids("users").to_pylist()[0], base.ids("items").to_pylist()
    rated = {item for one, item in contents(base) if one == user}
    item = next(name for name in items if name not in rated)
    train_only = {"kind": "random", "test": 0, "valid": 0}
    whole = run([tmp_path / "a.csv"], "train", shards={"users": 8, "items": 6}, split=train_only)
    assert whole.manifest.num_users == base.num_users
    added = run([write(tmp_path / "b.csv", [(user, item, 3, 5000)])], "train", append=True, split=train_only)
    old = {record.name: record.sha256 for record in whole.manifest.files}
    new = {record.name: record.sha256 for record in added.manifest.files}
    changed = {name for name in new if new[name] != old.get(name)}
    item_shard = next(
        number
        for number, shard in enumerate(whole.shards("items"))
        if whole.ids("items").to_pylist().index(item) < shard.stop
    )
    assert changed == {
        "users.parquet",
        "items.parquet",
        "ratings/train/00000.parquet",
        "blocks/users/00000.safetensors",
        f"blocks/items/{item_shard:05d}.safetensors",
    }


def test_new_users_and_items_follow_those_known_and_fill_the_last_shard_first(run, tmp_path):
    dataset = run(
        [write(tmp_path / "a.csv", [(f"u{n % 100}", f"i{n // 20}", 3, n) for n in range(2000)])],
        split={"kind": "random", "test": 0.1},
    )
    sizes = [len(dataset.shards("users"))]
    for number in range(2, 12):
        new = [(f"u{number}-{n % 10}", f"i{n}", 3, n) for n in range(200)]
        path = write(tmp_path / f"{number}.csv", new)
        dataset = run([path], append=True, split={"kind": "random", "test": 0.1})
        sizes.append(len(dataset.shards("users")))
        assert dataset.ids("users").to_pylist()[-1].startswith(f"u{number}")
    # Two days of new users make a shard like those of before.
    assert 8 <= sizes[-1] <= 11
    assert max(shard.num_ratings for shard in dataset.shards("users")) < 500
    require_sound_blocks(dataset)


def test_files_make_the_split_of_what_is_added_too(run, tmp_path):
    days = day(1, 800, (0, 40), (0, 90)), day(2, 300, (20, 60), (40, 120))
    names = [
        [
            write(tmp_path / f"{name}-{n}.csv", rows[::2] if name == "train" else rows[1::2])
            for name in ("train", "test")
        ]
        for n, rows in enumerate(days)
    ]

    def split(*numbers):
        train, test = ([str(names[number][place]) for number in numbers] for place in (0, 1))
        return {"kind": "files", "train": train, "test": test, "valid": 0.2}

    run([], split=split(0))
    added = run([], split=split(1), append=True)
    whole = run([], "whole", split=split(0, 1))
    assert contents(added) == contents(whole)
    assert added.manifest.split.fingerprint == whole.manifest.split.fingerprint


def test_an_addition_that_is_broken_off_leaves_the_dataset_and_goes_on(run, tmp_path):
    files = [write(tmp_path / f"{n}.csv", day(n, 700, (20 * n, 20 * n + 50), (0, 150))) for n in (1, 2)]
    base = run(files[:1])
    stages = []
    run(files[:1], "whole")
    whole = run(files[1:], "whole", lambda stage, *_: stages.append(stage), append=True)
    for stage in dict.fromkeys(stages):

        def end(now, done, *_, stage=stage):
            if (now, done) == (stage, 1):
                raise KeyboardInterrupt

        run(files[:1], f"broken {stage}")
        with pytest.raises(KeyboardInterrupt):
            run(files[1:], f"broken {stage}", end, append=True)
        assert Dataset.open(str(tmp_path / f"broken {stage}"), verify=True).digest == base.digest
        assert run(files[1:], f"broken {stage}", append=True).digest == whole.digest


def test_an_addition_that_is_complete_but_not_in_place_is_not_added_again(run, tmp_path, monkeypatch):
    files = [write(tmp_path / f"{n}.csv", day(n, 300, (0, 30), (0, 50))) for n in (1, 2)]
    run(files[:1])
    from recsys_dist.preparation.output import Output

    with monkeypatch.context() as patch:
        patch.setattr(Output, "_sweep", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(files[1:], append=True)
    added = run(files[1:], append=True)
    assert added.manifest.rows.read == 600
    assert len(added.manifest.grown_from) == 1


def test_what_cannot_be_added_is_one_line(run, tmp_path):
    first = write(tmp_path / "a.csv", [("u", "i", 3, 1), ("u", "j", 2, 1), ("v", "i", 3, 1)])
    again = write(tmp_path / "b.csv", [("w", "i", 3, 1), ("u", "i", 5, 2)])
    every = {"kind": "random", "test": 0, "valid": 0}
    with pytest.raises(ConfigError, match=r"append: .*there is no folder .*out"):
        run([again], append=True)
    base = run([first], split=every, ratings={"duplicates": "mean"})
    for changes, message in (
        (
            {"split": {**every, "seed": 4}, "ratings": {"duplicates": "mean"}},
            r"split\.seed: 4 here, but .*out was prepared with 0; appended ratings",
        ),
        ({"split": every, "ratings": {"duplicates": "last"}}, r"ratings\.duplicates: 'last' here, .* with 'mean'"),
    ):
        with pytest.raises(ConfigError, match=message):
            run([again], append=True, **changes)
    with pytest.raises(ValueError, match=r"append: ratings dropped by ratings\.min_user_ratings"):
        run([again], append=True, ratings={"min_user_ratings": 2})
    with pytest.raises(
        DataError, match=r"b\.csv line 3: user 'u' has already rated item 'i', .*prepare all files"
    ):
        run([again], append=True, split=every, ratings={"duplicates": "mean"})
    run([first], "strict", split=every, ratings={"duplicates": "error"})
    with pytest.raises(
        DataError, match=r"user 'u' rates item 'i' twice: .*ratings/train/0.* line 1 and .*b\.csv l"
    ):
        run([again], "strict", append=True, split=every, ratings={"duplicates": "error"})
    assert Dataset.open(str(tmp_path / "out"), verify=True).digest == base.digest
