"""What ranks do whose peers, or whose store, give no sign of life: each wait ends, with one line that says who."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import distributed_c10d

from recsys_dist.distributed import process_group, roll_call
from recsys_dist.distributed.collectives import Collectives, open_collectives
from recsys_dist.distributed.data_parallel import backward, replicate
from recsys_dist.distributed.deadline import within
from recsys_dist.distributed.roll_call import explained, one_line
from recsys_dist.distributed.shared_memory import SharedMemory
from recsys_dist.distributed.world import World
from recsys_dist.errors import PeerError
from tests.support.ranks import run_ranks

FIRST_OF_TWO = World(rank=0, size=2, device=torch.device("cpu"))


@pytest.fixture
def forever() -> Iterator[Any]:
    """A call that does not come back before the test is over."""
    over = threading.Event()
    yield lambda *_arguments, **_options: over.wait()
    over.set()


def test_a_call_in_time_gives_its_value_or_its_error() -> None:
    assert within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(60, lambda: 1 // 0)
    with pytest.raises(TimeoutError, match=r"^its own$"):
        within(60, partial(_raise, TimeoutError("its own")))


def _raise(error: Exception) -> None:
    raise error


def test_a_call_that_does_not_end_is_left_behind(forever: Any) -> None:
    with pytest.raises(TimeoutError, match=r"^no answer within 0\.1 s$"):
        within(0.1, forever)
    assert [thread.daemon for thread in threading.enumerate() if thread.name == "call with a deadline"] == [True]


class DeafStore:
    """Of a host that is cut off: what is sent is sent, and no answer comes."""

    def __init__(self, forever: Any) -> None:
        self.wait = self.check = forever

    def set(self, _name: str, _value: str) -> None:
        pass


def fail(message: str) -> None:
    with explained("all_reduce", FIRST_OF_TWO):
        raise RuntimeError(message)


def test_a_store_that_does_not_answer_is_told_and_waited_for_no_longer(
    monkeypatch: pytest.MonkeyPatch, forever: Any
) -> None:
    monkeypatch.setattr(roll_call, "ANSWER_S", 0.1)
    monkeypatch.setattr(distributed_c10d, "_get_default_store", lambda: DeafStore(forever))
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")

    with pytest.raises(PeerError) as caught:
        fail("[/src/gloo/unbound_buffer.cc:78] Timed out waiting 20000ms for recv operation to complete")

    assert str(caught.value) == (
        "rank 0 of 2: all_reduce failed: no answer from the rendezvous at node1:29500: "
        "Timed out waiting 20000ms for recv operation to complete"
    )


def test_what_gloo_suggests_to_look_at_is_left_out() -> None:
    told = RuntimeError(
        "[/src/gloo/pair.cc:537] Read error [192.0.2.2]:33488: Connection reset by peer. This is typically caused "
        "by a remote worker hanging or bugs in the application. Check the logs."
    )
    assert one_line(told) == "Read error [192.0.2.2]:33488: Connection reset by peer."


@pytest.mark.parametrize("at", ["init_process_group", "destroy_process_group"])
def test_joining_and_leaving_end_where_torch_does_not(
    monkeypatch: pytest.MonkeyPatch, forever: Any, at: str
) -> None:
    monkeypatch.setattr(process_group, "SLACK_S", 0.1)
    monkeypatch.setattr(SharedMemory, "open", lambda _ranks: None)
    for name in ("init_process_group", "destroy_process_group"):
        monkeypatch.setattr(dist, name, forever if name == at else lambda **_options: None)

    def visit() -> str:
        with open_collectives(FIRST_OF_TWO, timeout_s=0.1):
            return "has been there"

    if at == "destroy_process_group":
        assert visit() == "has been there"
    else:
        with pytest.raises(PeerError, match=r"^rank 0 of 2 could not reach the others within 0\.1 s: no answer"):
            visit()


def lose_a_peer_in_backward(ranks: Collectives) -> str:
    model = nn.Linear(3, 1)
    replica: Any = replicate(model, ranks)
    loss = replica(torch.ones(2, 3)).sum()
    if ranks.world.rank == 1:
        os._exit(9)
    with pytest.raises(PeerError) as caught:
        backward(loss, ranks)
    Path(os.environ["TOLD"]).write_text(str(caught.value))
    return str(caught.value)


def test_gradients_without_a_peer_are_told_as_a_failed_collective(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOLD", str(tmp_path / "told"))

    with pytest.raises(AssertionError, match=r"^rank 1 died with exit code 9$"):
        run_ranks(lose_a_peer_in_backward, 2, tmp_path / "ranks", spawned=True)

    assert (
        (tmp_path / "told")
        .read_text()
        .startswith("rank 0 of 2: averaging gradients failed: no response from rank 1: ")
    )


def timeout_of_gradients(ranks: Collectives) -> float:
    replica: Any = replicate(nn.Linear(3, 1), ranks)
    backend = replica.process_group._get_backend(torch.device("cpu"))
    return backend.options._timeout.total_seconds()


@pytest.mark.parametrize("level", ["OFF", "DETAIL"])
def test_gradients_wait_for_peers_as_long_as_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str
) -> None:
    monkeypatch.setenv("TORCH_DISTRIBUTED_DEBUG", level)

    assert run_ranks(timeout_of_gradients, 2, tmp_path) == [60.0, 60.0]
