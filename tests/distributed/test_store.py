import errno
import os
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_dist.checkpoint.checkpoint import Checkpoint, find_checkpoint
from recsys_dist.checkpoint.state import TableRows, TrainerState
from recsys_dist.checkpoint.store import CheckpointStore
from recsys_dist.errors import CheckpointError, TrainingError
from recsys_dist.storage.folder import Folder
from tests.support.ranks import run_ranks
from tests.support.states import same_tensors, single_collectives, state_of_rank, whole_tables
from tests.support.threads import run_threads


class FullFolder(Folder):
    """A folder on a disk without any space left."""

    def child(self, name):
        return FullFolder(f"{self.url}/{name}")

    def write_bytes(self, *_arguments, **_keywords):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def save_on_rank(collectives, run_dir, version=1):
    store = CheckpointStore(Folder(run_dir), collectives, keep=2)
    store.save(state_of_rank(collectives.world.rank, collectives.world.size, version), version, {})


def latest(store: CheckpointStore) -> Checkpoint:
    found = store.latest()
    assert found is not None
    return found


def load_on_rank(collectives, run_dir):
    """Whether this rank reads its own uneven part of every table as it was before the save."""
    rank, size = collectives.world.rank, collectives.world.size
    checkpoint = latest(CheckpointStore(Folder(run_dir), collectives, keep=2))
    same = [checkpoint.values == state_of_rank(0, 1, version=1).values]
    for table, tensors in whole_tables(1).items():
        num_rows = checkpoint.tables[table].num_rows
        start, stop = num_rows * rank // size, num_rows * (rank + 1) // size
        own = {name: rows[start:stop] for name, rows in tensors.items()}
        same.append(same_tensors(checkpoint.read_rows(table, start, stop), own))
    return all(same)


@pytest.mark.parametrize("readers", [1, 2, 3, 4])
@pytest.mark.parametrize("writers", [1, 2, 3, 4])
def test_what_n_ranks_save_m_ranks_load(writers, readers, tmp_path):
    run_threads(save_on_rank, writers, str(tmp_path))
    assert run_threads(load_on_rank, readers, str(tmp_path)) == [True] * readers


def save_cut(collectives, run_dir, tensors, cuts):
    """Save one table, of which each rank hands over what lies between two of its cuts."""
    start, stop = cuts[collectives.world.rank : collectives.world.rank + 2]
    rows = TableRows(start, cuts[-1], {name: tensor[start:stop] for name, tensor in tensors.items()})
    store = CheckpointStore(Folder(run_dir), collectives, keep=1)
    store.save(TrainerState({"table": rows}, {"epoch": 1}), 1, {})


def load_cut(collectives, run_dir, cuts):
    start, stop = cuts[collectives.world.rank : collectives.world.rank + 2]
    return latest(CheckpointStore(Folder(run_dir), collectives, keep=1)).read_rows("table", start, stop)


DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]


@st.composite
def tables_and_cuts(draw):
    """A table of any rows, cut for 1 to 4 ranks twice; a cut may leave a rank without rows."""
    num_rows = draw(st.integers(1, 30))
    dtypes = draw(
        st.lists(st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64]), min_size=1)
    )
    shapes = draw(st.lists(st.lists(st.integers(0, 3), max_size=2), min_size=len(dtypes), max_size=len(dtypes)))
    generator = torch.Generator().manual_seed(num_rows)
    tensors = {
        f"x{number}": torch.randint(-99, 99, (num_rows, *shape), generator=generator).to(dtype)
        for number, (dtype, shape) in enumerate(zip(dtypes, shapes, strict=True))
    }
    inner = st.lists(st.integers(0, num_rows), max_size=3).map(sorted)
    return tensors, [0, *draw(inner), num_rows], [0, *draw(inner), num_rows]


@settings(max_examples=60, deadline=None)
@given(tables_and_cuts())
def test_rows_come_back_bit_for_bit_however_they_are_cut(tmp_path_factory, table_and_cuts):
    tensors, written, read = table_and_cuts
    run_dir = str(tmp_path_factory.mktemp("run"))
    run_threads(save_cut, len(written) - 1, run_dir, tensors, written)
    parts = run_threads(load_cut, len(read) - 1, run_dir, read)
    assert same_tensors({name: torch.cat([part[name] for part in parts]) for name in tensors}, tensors)


def fail_on_rank(collectives, run_dir, kind):
    """Save once; save again with a failure on rank 1 alone; tell this rank's error and what can be loaded then."""
    save_on_rank(collectives, run_dir)
    rank, folder = collectives.world.rank, Folder(run_dir)
    state = state_of_rank(rank, collectives.world.size, version=2)
    if rank == 1:
        if kind == "disk":
            folder = FullFolder(run_dir)
        elif kind == "nan":
            state.tables["users"].tensors["bias"][0] = torch.nan
        elif kind == "rows":
            users = state.tables["users"]
            users = replace(users, tensors={name: x for name, x in users.tensors.items() if name != "bias"})
            state = replace(state, tables={**state.tables, "users": users})
        elif kind == "values":
            state = replace(state, values={**state.values, "noise": 0.25})
    with pytest.raises(TrainingError) as failure:
        CheckpointStore(folder, collectives, keep=2).save(state, 2, {})
    left = Folder(run_dir).child("checkpoints").names()
    save_on_rank(collectives, run_dir, version=3)
    return str(failure.value), left, latest(CheckpointStore(Folder(run_dir), collectives, keep=2)).step


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("disk", "saving the checkpoint of step 2 failed: rank 1: No space left on device"),
        ("nan", "rank 1: bias of users is not finite at row 3"),
        ("rows", "rank 1 has other tables, dtypes or shapes than rank 0"),
        ("values", "the ranks differ in the values of the trainer state"),
    ],
)
def test_a_failure_on_one_rank_is_one_error_on_all_and_harms_no_older_checkpoint(kind, told, tmp_path):
    ranks = run_threads(fail_on_rank, 3, str(tmp_path), kind)
    for error, left, after in ranks:
        assert told in error
        assert "step-00000001" in left
        assert after == 3
    assert ranks[0][1] == ["step-00000001"], "rank 0 clears away what the failed save had written"


def see_damage(collectives, run_dir):
    with pytest.raises(CheckpointError) as damage:
        CheckpointStore(Folder(run_dir), collectives, keep=2).latest()
    return str(damage.value)


def test_damage_that_one_rank_finds_is_an_error_on_all(tmp_path):
    """The ranks share out the files to verify, so only one of them meets the damaged one."""
    CheckpointStore(Folder(str(tmp_path)), single_collectives(), keep=2).save(state_of_rank(0, 1), 1, {})
    for path in (tmp_path / "checkpoints/step-00000001").glob("users-*"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    with pytest.raises(CheckpointError, match="users-"):
        find_checkpoint(Folder(str(tmp_path)), step=1)
    for error in run_threads(see_damage, 2, str(tmp_path)):
        assert "users-00000000-00000011.safetensors is damaged" in error


def die_while_saving(collectives, run_dir):
    """On real ranks: save, read back, and save again while rank 1 dies."""
    save_on_rank(collectives, run_dir)
    assert load_on_rank(collectives, run_dir)
    if collectives.world.rank == 1:
        Folder.write_bytes = lambda *_arguments, **_keywords: os._exit(9)  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"rank 0 of 2: .* failed: no response from rank 1"):
        save_on_rank(collectives, run_dir, version=2)


def test_a_rank_that_dies_while_saving_ends_the_others_and_harms_no_older_checkpoint(tmp_path):
    with pytest.raises(AssertionError) as ended:
        run_ranks(die_while_saving, 2, tmp_path / "ranks", str(tmp_path / "run"))
    assert str(ended.value) == "rank 1 died with exit code 9", "rank 0 ends in time, with an error of its own"
    assert latest(CheckpointStore(Folder(str(tmp_path / "run")), single_collectives(), keep=2)).step == 1
