"""Ratings added in a second step come to what all of them at once come to; without a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from recsys_dist.dataset.dataset import Dataset
from recsys_dist.dataset.manifest import SIDES
from recsys_dist.errors import DataError
from recsys_dist.preparation import prepare as preparation
from recsys_dist.preparation.cluster import local_workers
from recsys_dist.preparation.settings.prepare import PrepareConfig
from tests.support.calling_process import no_cluster
from tests.support.contents import contents

NAMED = {"user": "user", "item": "item", "rating": "rating", "timestamp": "timestamp"}
SPLITS: list[dict[str, Any]] = [
    {"kind": "random", "test": 0.3, "valid": 0.2, "seed": 1},
    {"kind": "leave_n_out", "test": 1, "valid": 1},
    {"kind": "leave_n_out", "test": 1, "valid": 0, "by": "hash", "min_train": 2},
    {"kind": "time", "test": 0.3, "valid": 0.2},
    {"kind": "users", "test": 0.2, "valid": 0.1, "seed": 3},
]

Row = tuple[str, str, float, int]
rows = st.tuples(
    st.sampled_from(["u", "v", "w", "x", "07", "7"]),
    st.sampled_from(["i", "j", "k", "l", "m"]),
    st.sampled_from([0.5, 3.0, 5.0, 6.0]),
    st.integers(0, 20),
)


@pytest.fixture(scope="module", autouse=True)
def _in_this_process() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparation, "open_cluster", no_cluster)
        patch.setattr(local_workers, "start_loading", lambda: None)
        yield


def write(path: Path, lines: list[Row]) -> str:
    path.write_text("user,item,rating,timestamp\n" + "".join(",".join(map(str, line)) + "\n" for line in lines))
    return str(path)


def prepared(
    output: Path, paths: list[str], split: dict[str, Any], duplicates: str, append: bool = False
) -> Dataset:
    """Examples that the rules leave nothing of are passed over."""
    tree = {
        "input": {"paths": paths, "columns": NAMED},
        "ratings": {"duplicates": duplicates, "max": 5},
        "split": split,
        "shards": {"users": 2, "items": 2},
        "output": str(output),
    }
    try:
        preparation.prepare(PrepareConfig.model_validate({**tree, "append": append}))
    except DataError as refused:
        assume(re.search("no rating|none of .* is a valid rating", str(refused)) is None)
        raise
    return Dataset.open(str(output), verify=True)


def grown_by(output: Path, paths: list[str], split: dict[str, Any], duplicates: str) -> Dataset:
    """The dataset with the ratings added; as it is where none of them changes anything, which is refused."""
    try:
        return prepared(output, paths, split, duplicates, append=True)
    except DataError as refused:
        if "changes nothing" not in str(refused):
            raise
        return Dataset.open(str(output))


# Half a second each: an example that fails is told as it is.
@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.lists(rows, min_size=4, max_size=25),
    st.lists(rows, min_size=1, max_size=25),
    st.sampled_from(SPLITS),
    st.sampled_from(["last", "first"]),
)
def test_two_steps_come_to_what_one_comes_to(
    tmp_path_factory: pytest.TempPathFactory,
    first: list[Row],
    second: list[Row],
    split: dict[str, Any],
    duplicates: str,
) -> None:
    folder = tmp_path_factory.mktemp("append")
    files = [write(folder / "a.csv", first), write(folder / "b.csv", second)]
    before = prepared(folder / "grown", files[:1], split, duplicates)
    known = {side: before.ids(side).to_pylist() for side in SIDES}
    whole = prepared(folder / "whole", files, split, duplicates)

    grown = grown_by(folder / "grown", files[1:], split, duplicates)

    assert contents(grown) == contents(whole)
    # Rows that change nothing are refused as a whole, and not counted.
    assert grown.manifest.rows == (before if grown.digest == before.digest else whole).manifest.rows
    assert grown.manifest.num_ratings == whole.manifest.num_ratings
    assert grown.manifest.split.fingerprint == whole.manifest.split.fingerprint
    for side in SIDES:
        assert grown.ids(side).to_pylist()[: len(known[side])] == known[side]
        assert set(grown.ids(side).to_pylist()) == set(whole.ids(side).to_pylist())
