import signal
import subprocess
import sys
import threading
import time

import pytest

from recsys_dist.process import preemption
from recsys_dist.process.preemption import watch_for_preemption


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
        monkeypatch.setattr(preemption, "SAME_STOP_S", -1.0)
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


def test_ctrl_c_asks_and_a_second_one_ends(monkeypatch, caplog):
    with watch_for_preemption() as preempted:
        signal.raise_signal(signal.SIGINT)
        assert preempted()
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(preemption, "SAME_PRESS_S", -1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert caplog.messages == ["received SIGINT: saving; press Ctrl-C again to end at once"]


def test_a_second_ctrl_c_that_torchrun_passes_on_as_sigterm_ends_too(second_signals, monkeypatch):
    with watch_for_preemption():
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(preemption, "SAME_PRESS_S", -1.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert second_signals == []


def test_ctrl_c_that_a_shell_ignores_for_its_background_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with watch_for_preemption() as preempted:
            signal.raise_signal(signal.SIGINT)
            assert not preempted()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


STUCK_IN_NATIVE_CODE = """
import hashlib
from recsys_dist.process.preemption import as_command, watch_for_preemption

with as_command(), watch_for_preemption():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_a_command_is_told_and_ended_in_the_midst_of_a_long_native_call():
    command = [sys.executable, "-c", STUCK_IN_NATIVE_CODE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "ready\n"
            process.send_signal(signal.SIGINT)
            told = process.stderr.readline()
            time.sleep(1.5 * preemption.SAME_PRESS_S)
            process.send_signal(signal.SIGINT)
            ended_with = process.wait(timeout=60)
        finally:
            process.kill()
    assert told == "received SIGINT: saving; press Ctrl-C again to end at once\n"
    assert ended_with == 130
