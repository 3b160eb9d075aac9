"""Calls that may be left behind: who waits, who gets the value, who cleans up."""

from __future__ import annotations

import threading

import pytest
from nornir_kit import eventually

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.threads import Call, abandon, await_stragglers, stragglers


def test_a_call_gives_its_value_or_its_exception_to_every_waiter() -> None:
    """Also to those who come when it is over."""
    value = Call(lambda: 7, name="seven").start()
    assert (value.wait(5), value.wait(0), value.over) == (7, 7, True)

    def fail() -> int:
        raise KeyError("no")

    failed = Call(fail, name="fail").start()
    for _ in range(2):
        with pytest.raises(KeyError):
            failed.wait(5)


def test_a_value_nobody_waits_for_is_disposed_of_exactly_once() -> None:
    """Whether it came before or after it was abandoned."""
    gate = threading.Event()
    disposed: list[str] = []
    early = Call(lambda: "early", name="early", dispose=disposed.append).start()
    early.wait(5)
    early.abandon()
    early.abandon()

    def late() -> str:
        gate.wait(5)
        return "late"

    call = Call(late, name="late", dispose=disposed.append).start()
    call.abandon()
    assert disposed == ["early"]
    gate.set()
    assert eventually(lambda: disposed == ["early", "late"])


def test_a_call_that_is_over_leaves_no_straggler() -> None:
    """Abandoning concerns threads that still run, nothing else."""
    call = Call(lambda: None, name="quick").start()
    call.wait(5)
    call.abandon()
    assert "quick" not in stragglers()


def test_stragglers_disappear_when_they_end() -> None:
    """What was abandoned and came back does not force os._exit."""
    gate = threading.Event()
    call = Call(lambda: gate.wait(5), name="slow").start()
    with pytest.raises(TimeoutError):
        call.wait(0.01)
    call.abandon()
    assert "slow" in stragglers()
    gate.set()
    assert eventually(lambda: "slow" not in stragglers())


def test_cleaning_up_waits_for_calls_that_are_under_way_but_not_for_ever() -> None:
    """What a late call makes can only be removed once it is made."""
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, daemon=True, name="under way")
    thread.start()
    abandon(thread)
    assert await_stragglers(Deadline.after(0.1)) is False
    threading.Timer(0.1, gate.set).start()
    assert await_stragglers(Deadline.after(10)) is True
