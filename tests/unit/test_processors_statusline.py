"""The line that shows an interactive job's owner how far the guests are."""

from __future__ import annotations

import io
import os
import pty
import time
from collections.abc import Iterator

import pytest

from nornir_torque_vm.processors import statusline
from nornir_torque_vm.processors.base import Event, Kind
from nornir_torque_vm.processors.statusline import WIDTH, StatusLine, Terminal, for_owner
from nornir_torque_vm.report import Status


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal: the one that people see, the one that programs write to."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(theirs)
    os.close(ours)


def event(kind: Kind, task: str, host: str = "", status: Status | None = None) -> Event:
    return Event(t=0.0, run="r", kind=kind, task=task, host=host, status=status, seconds=1.25)


def lines(text: str) -> list[str]:
    """States of the line, in order; those that stayed end with ``$``."""
    return [
        state.rstrip() + ("$" if state.endswith("\n") else "")
        for state in text.replace("\n", "\n\r").split("\r")
        if state.strip()
    ]


def test_the_line_tells_how_many_guests_are_how_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The farthest first; what a run came to stays, with its time."""
    monkeypatch.setattr(statusline, "PAUSE", 0.0)
    stream = io.StringIO()
    line = StatusLine(stream)
    line.handle(event(Kind.RUN_START, "boot_guest"))
    for host in ("a", "b"):
        line.handle(event(Kind.HOST_START, "boot_guest", host))
    line.handle(event(Kind.STEP_START, "start_guest", "a"))
    line.handle(event(Kind.STEP_START, "discover_address", "b"))
    line.handle(event(Kind.HOST_END, "boot_guest", "a", Status.CHANGED))
    line.handle(event(Kind.HOST_END, "boot_guest", "b", Status.LATE))
    line.handle(event(Kind.RUN_END, "boot_guest"))
    assert lines(stream.getvalue()) == [
        "torque-vm: guests: no host",
        "torque-vm: guests: 1 begun",
        "torque-vm: guests: 2 begun",
        "torque-vm: guests: 1 start, 1 begun",
        "torque-vm: guests: 1 address, 1 start",
        "torque-vm: guests: 1 ok, 1 address",
        "torque-vm: guests: 1 ok, 1 late",
        "torque-vm: guests: 1 ok, 1 late after 1.2 s$",
    ]


def test_many_events_are_few_lines() -> None:
    """A thousand guests over a slow line; the last state is shown all the same."""
    stream = io.StringIO()
    line = StatusLine(stream)
    line.handle(event(Kind.RUN_START, "survey"))
    for number in range(1000):
        line.handle(event(Kind.HOST_END, "survey", f"n{number}", Status.OK))
    line.handle(event(Kind.RUN_END, "survey"))
    found = lines(stream.getvalue())
    assert len(found) < 20
    assert found[-1] == "torque-vm: survey: 1000 ok after 1.2 s$"
    assert max(map(len, stream.getvalue().split("\r"))) <= WIDTH + 1


def test_a_terminal_that_was_stopped_does_not_stop_the_hook(terminal: tuple[int, int]) -> None:
    """Nobody reads: what it does not take is lost, and nothing else waits in it."""
    _, theirs = terminal
    stream, began = Terminal(theirs), time.monotonic()
    for _ in range(2000):
        stream.write("x" * 500)
    assert time.monotonic() - began < 5
    stream.close()
    assert os.get_blocking(theirs)


def test_a_terminal_that_is_gone_is_no_error(terminal: tuple[int, int]) -> None:
    """The owner hung up."""
    ours, theirs = pty.openpty()
    stream = Terminal(theirs)
    os.close(ours)
    stream.write("x")
    stream.close()
    os.close(theirs)


def test_the_owner_of_a_batch_job_is_shown_nothing(terminal: tuple[int, int]) -> None:
    """Its errors go to a file, in which the job's own words come first."""
    ours, theirs = terminal
    read, write = os.pipe()
    assert for_owner(write) == []
    os.close(read)
    os.close(write)
    (shown,) = for_owner(theirs)
    shown.handle(event(Kind.RUN_START, "boot_guest"))
    assert b"torque-vm: guests:" in os.read(ours, 1000)
