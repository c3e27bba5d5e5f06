"""Two checkpoints are told apart by a single bit, and it is said where."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from recsys_dist.checkpoint import compare
from recsys_dist.checkpoint.checkpoint import Checkpoint
from recsys_dist.checkpoint.compare import Difference, content_digests, find_differences, joint_digest
from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.storage.folder import Folder
from tests.support.states import single_collectives, state_of_rank, whole_tables
from tests.support.threads import run_threads

SEARCH = {"phase": "done", "error": 2.0, "best": {"penalty": 1.5, "tried": 3}}
VALUES: dict[str, Any] = {"search": SEARCH, "noise": 0.1 + 0.2, "prior": [[1.0, 2.0], [3.0, 4.0]], "epoch": 3}


@pytest.fixture(autouse=True)
def ranges_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "RANGE_BYTES", 150)


def saved(folder: Path, tables: dict[str, dict[str, torch.Tensor]], values: dict[str, Any]) -> Checkpoint:
    rows = {name: TableRows(0, len(next(iter(tensors.values()))), tensors) for name, tensors in tables.items()}
    store = CheckpointStore(Folder(str(folder)), single_collectives(), keep=1)
    store.save(TrainerState(rows, values), 1, {"run": folder.name})
    return opened(folder)


def opened(folder: Path) -> Checkpoint:
    return Checkpoint.open(Folder(str(folder)).child("checkpoints/step-00000001"))


def save_on_rank(collectives: Any, folder: str) -> None:
    store = CheckpointStore(Folder(folder), collectives, keep=1)
    store.save(state_of_rank(collectives.world.rank, collectives.world.size), 1, {"run": folder})


def differing(left: Checkpoint, right: Checkpoint) -> list[Difference]:
    """Compared by their digests first, as parity does."""
    ours, theirs = content_digests(left), content_digests(right)
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    assert bool(names) == (joint_digest(ours) != joint_digest(theirs))
    return find_differences(left, right, names)


def test_the_same_state_has_the_same_digests_however_it_was_cut_into_files(tmp_path: Path) -> None:
    for ranks in (1, 3):
        run_threads(save_on_rank, ranks, str(tmp_path / str(ranks)))
    one, three = (opened(tmp_path / ranks) for ranks in ("1", "3"))

    assert len(one.manifest.files) < len(three.manifest.files)
    assert content_digests(one) == content_digests(three)
    assert set(content_digests(one)) == {
        *(f"{table}.{name}" for table, tensors in whole_tables().items() for name in tensors),
        *(f"values.{name}" for name in one.values),
    }


@pytest.mark.parametrize(
    ("table", "tensor", "row", "entry", "told", "relative"),
    [
        ("users", "bias", 7, 1.5, "first at row 7, 1 of 11 entries differ", None),
        ("users", "factors", (10, 3), 1e-9, "first at row 10, 1 of 44 entries differ", None),
        ("users", "covariance", (0, 1, 2), 100.0, "first at row 0, 1 of 66 entries differ", None),
        ("items", "count", 2, 9, "first at row 2, 1 of 3 entries differ", math.inf),
        ("items", "seen", 1, None, "first at row 1, 1 of 3 entries differ", math.inf),
    ],
)
def test_one_forged_entry_is_found_with_its_place_and_size(
    tmp_path: Path, table: str, tensor: str, row: Any, entry: Any, told: str, relative: float | None
) -> None:
    forged = whole_tables()
    right = forged[table][tensor]
    before, norm = right[row].item(), right.double().norm().item()
    right[row] = (not before) if entry is None else entry
    if relative is None:
        relative = abs(right[row].item() - before) / max(norm, right.double().norm().item())

    found = differing(saved(tmp_path / "a", whole_tables(), VALUES), saved(tmp_path / "b", forged, VALUES))

    assert [(one.name, one.told) for one in found] == [(f"{table}.{tensor}", told)]
    assert found[0].relative == pytest.approx(relative, rel=1e-6)


def test_the_sign_of_a_zero_counts_and_measures_nothing(tmp_path: Path) -> None:
    left, right = ({"users": {"bias": torch.tensor([1.0, zero])}} for zero in (0.0, -0.0))

    (found,) = differing(saved(tmp_path / "a", left, VALUES), saved(tmp_path / "b", right, VALUES))

    assert str(found) == "users.bias: first at row 1, 1 of 2 entries differ, relative difference 0"


@pytest.mark.parametrize(
    ("key", "value", "told", "relative"),
    [
        ("prior", [[1.0, 2.0], [3.0, 4.0 + 4e-8]], "1 of 4 numbers differ", 4e-8 / 30**0.5),
        ("noise", math.nextafter(0.1 + 0.2, 1), "1 of 1 numbers differ", 2**-52 / 0.6 / 2),
        ("epoch", 4, "3 against 4", math.inf),
        ("search", {**SEARCH, "error": 1e300}, "1 of 2 numbers differ", 1.0),
        ("search", {**SEARCH, "error": 2.0 + 1e-7}, "1 of 2 numbers differ", 1e-7 / 2.5),
        (
            "search",
            {**SEARCH, "phase": "on"},
            '{"best": {"penalty": 1.5, "tried": 3}, "error": 2.0, "pha...',
            math.inf,
        ),
        ("prior", [[1.0, 2.0]], "[[1.0, 2.0], [3.0, 4.0]] against [[1.0, 2.0]]", math.inf),
    ],
)
def test_replicated_values_are_compared_exactly(
    tmp_path: Path, key: str, value: Any, told: str, relative: float
) -> None:
    left = saved(tmp_path / "a", whole_tables(), VALUES)

    (found,) = differing(left, saved(tmp_path / "b", whole_tables(), {**VALUES, key: value}))

    assert found.name == f"values.{key}"
    assert found.told.partition(" against {")[0] == told
    assert found.relative == pytest.approx(relative, rel=0.2)


def test_other_shapes_and_missing_tensors_are_differences_too(tmp_path: Path) -> None:
    other = whole_tables()
    other["users"]["factors"] = other["users"]["factors"][:, :2].clone()
    del other["users"]["bias"], other["items"]

    found = differing(saved(tmp_path / "a", whole_tables(), VALUES), saved(tmp_path / "b", other, VALUES))

    assert [str(one) for one in found] == [
        "items.count: int64 [3] against nothing",
        "items.seen: bool [3] against nothing",
        "users.bias: float32 [11] against nothing",
        "users.factors: float64 [11, 4] against float64 [11, 2]",
    ]
