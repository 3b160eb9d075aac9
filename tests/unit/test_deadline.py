"""One instant for everything: waiting ends with it, and whoever cancels it ends the waiting."""

from __future__ import annotations

import itertools
import signal
import threading
import time

import pytest

from nornir_torque_vm.deadline import BACKOFF_FIRST, NEVER, NOTICE, Deadline
from nornir_torque_vm.errors import DeadlineExceeded


def test_what_remains_is_never_negative_and_clamps_every_wait() -> None:
    """Callers hand the number to functions that take no negative timeout."""
    assert Deadline.after(-5).remaining() == 0.0
    assert Deadline.after(-5).clamp(3) == 0.0
    assert Deadline.after(50).clamp(3) == 3
    assert 1.9 < Deadline.after(2).clamp(30) <= 2
    assert NEVER.remaining() == float("inf")


def test_a_side_effect_after_the_deadline_is_stopped() -> None:
    """Check comes before every one of them."""
    Deadline.after(50).check()
    with pytest.raises(DeadlineExceeded, match="the time is up"):
        Deadline.after(0).check()


def test_sleep_ends_with_the_deadline_and_says_so() -> None:
    """A sleeper must not be late itself."""
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        Deadline.after(0.1).sleep(30)
    assert 0.1 <= time.monotonic() - began < 5
    Deadline.after(30).sleep(0.01)


def test_backoff_grows_from_a_short_pause_and_ends_without_raising() -> None:
    """So that the caller can say what it waited for."""
    began = time.monotonic()
    rounds = list(Deadline.after(0.5).backoff())
    assert time.monotonic() - began >= 0.5
    assert rounds == list(range(len(rounds)))
    assert 3 <= len(rounds) <= 6, "0, 50, 125, 237, 406 ms"
    first = list(itertools.islice(Deadline.after(5).backoff(longest=BACKOFF_FIRST), 4))
    assert first == [0, 1, 2, 3]
    assert list(Deadline.after(0.5).backoff(longest=10, first=0.4)) == [0, 1], "0, 400, 1000 ms"


def test_a_cancelled_deadline_ends_a_wait_in_another_thread() -> None:
    """Within the time a human does not notice."""
    deadline, done = Deadline.after(60), threading.Event()

    def wait() -> None:
        with pytest.raises(DeadlineExceeded):
            deadline.sleep(60)
        done.set()

    thread = threading.Thread(target=wait)
    thread.start()
    deadline.cancel()
    assert done.wait(NOTICE + 5)
    thread.join()
    assert deadline.remaining() == 0.0


def test_a_signal_handler_may_cancel_while_the_main_thread_waits_on_it() -> None:
    """Whatever instruction it interrupts: no lock is taken, so none can be held."""
    deadline = Deadline.after(60)
    before = signal.signal(signal.SIGALRM, lambda *_: deadline.cancel())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(DeadlineExceeded):
            deadline.sleep(60)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not any(isinstance(value, threading.Event) for value in vars(deadline).values())
