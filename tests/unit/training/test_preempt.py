import signal
import threading

import pytest

from recsys_dist.training import preempt
from recsys_dist.training.preempt import watch_for_preemption


@pytest.fixture
def second_signals():
    """Signals that got through to the handler that stood before."""
    through = []
    previous = signal.signal(signal.SIGTERM, lambda number, _frame: through.append(number))
    yield through
    signal.signal(signal.SIGTERM, previous)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_asks_for_a_stop_and_the_old_handler_returns(number, second_signals):
    before = signal.getsignal(number)
    with watch_for_preemption() as preempted:
        assert not preempted()
        signal.raise_signal(number)
        assert preempted()
    assert signal.getsignal(number) == before
    assert second_signals == []


def test_a_stop_that_arrives_twice_is_one_stop_but_a_later_one_gets_through(second_signals, monkeypatch):
    with watch_for_preemption() as preempted:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert second_signals == []
        monkeypatch.setattr(preempt, "SAME_STOP_S", -1.0)
        signal.raise_signal(signal.SIGTERM)
        assert second_signals == [signal.SIGTERM]
        assert preempted()


def test_off_the_main_thread_nothing_is_caught():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def watch():
        with watch_for_preemption() as preempted:
            seen.extend([preempted(), signal.getsignal(signal.SIGTERM)])

    thread = threading.Thread(target=watch)
    thread.start()
    thread.join()
    assert seen == [False, before]
