"""JSON lines: the schema other programs rely on, and that a line is whole or absent."""

from __future__ import annotations

import json
import os
import pathlib
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from nornir.core.task import Result, Task
from nornir_kit import nornir_of

from nornir_torque_vm.errors import DeadlineExceeded, HypervisorError, StateError
from nornir_torque_vm.processors import base
from nornir_torque_vm.processors.base import Event, Kind
from nornir_torque_vm.processors.events import JsonLinesEvents, as_dict
from nornir_torque_vm.report import Failure, Status
from nornir_torque_vm.runners.deadline import DeadlineRunner

GOLDEN = pathlib.Path(__file__).parent.parent / "data" / "events-v1.jsonl"


class Clock:
    """Stands for the module ``time``: each look at it is 0.125 s later than the one before."""

    def __init__(self) -> None:
        self.ticks = 0

    def time(self) -> float:
        self.ticks += 1
        return 1_795_000_000 + self.ticks / 8

    def monotonic(self) -> float:
        return self.ticks / 8


def start_guest(task: Task) -> Result:
    if task.host.name == "j17-r1":
        raise HypervisorError("no bridge\nbr0", code=38, guest="j17-r1", hint="create it")
    if task.host.name == "j17-r2":
        raise DeadlineExceeded("late in start_guest after 9.0 s")
    return Result(host=task.host, result={"secret": "must not be seen"}, changed=True)


def boot_guest(task: Task) -> Result:
    task.run(start_guest)
    return Result(host=task.host)


def test_the_schema_is_what_the_golden_file_says(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys, order, types and words of version 1; a change here is a new version."""
    monkeypatch.setattr(base, "time", Clock())
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0a1b2c3d")
    with JsonLinesEvents(tmp_path / "events", job="17.head") as events:
        nornir_of(["j17-r0", "j17-r1", "j17-r2"], DeadlineRunner(num_workers=1), [events]).run(boot_guest)
    assert (tmp_path / "events").read_text() == GOLDEN.read_text()
    assert events.dropped == 0


def test_every_line_has_every_key() -> None:
    """A reader never has to ask whether a key is there."""
    lines = [json.loads(line) for line in GOLDEN.read_text().splitlines()]
    keys = ["v", "t", "run", "job", "event", "task", "phase", "host",
            "status", "started", "seconds", "changed", "error"]  # fmt: skip
    assert all(list(line) == keys for line in lines)
    assert {line["event"] for line in lines} == set(Kind)


def test_what_a_task_returned_is_not_told() -> None:
    """It may be long, or secret."""
    assert "secret" not in GOLDEN.read_text()


def test_the_documentation_lists_the_keys() -> None:
    """In their order."""
    from nornir_torque_vm.processors import events

    assert events.__doc__ is not None
    documented = re.findall(r"^(\w+) {2,}\S", events.__doc__, re.MULTILINE)
    assert documented == list(json.loads(GOLDEN.read_text().splitlines()[0]))


EVENT = Event(1.0, "r", Kind.HOST_END, "survey", "n1", Status.OK, 0.5, 0.5, False)


def test_threads_never_tear_each_others_lines(tmp_path: pathlib.Path) -> None:
    """One write on a descriptor for appending, from 16 threads and through two descriptors."""
    path = tmp_path / "events"
    with JsonLinesEvents(path, job="a") as one, JsonLinesEvents(path, job="b") as two:

        def write() -> None:
            for _ in range(200):
                one.handle(EVENT)
                two.handle(EVENT)

        threads = [threading.Thread(target=write) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 6400
    assert {line["job"] for line in lines} == {"a", "b"}


@pytest.fixture
def full_pipe() -> Iterator[tuple[int, int]]:
    """The ends of a pipe that is full and does not block."""
    read, write = os.pipe2(os.O_NONBLOCK)
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        pass
    yield read, write
    os.close(read)
    os.close(write)


def test_a_line_that_cannot_be_written_is_counted_and_costs_nothing(full_pipe: tuple[int, int]) -> None:
    """A full disk, a reader that sleeps: the job goes on."""
    events = JsonLinesEvents(full_pipe[1])
    events.handle(EVENT)
    assert events.dropped == 1
    os.read(full_pipe[0], 1 << 20)
    events.handle(EVENT)
    assert json.loads(os.read(full_pipe[0], 1 << 20)) == as_dict(EVENT)


def test_after_half_a_line_the_next_one_is_readable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """A disk that fills up in the middle of a line spoils that line only."""
    path = tmp_path / "events"
    real = os.write
    with JsonLinesEvents(path) as events:
        monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:30]))
        events.handle(EVENT)
        monkeypatch.setattr(os, "write", real)
        events.handle(EVENT)
    half, whole = path.read_text().splitlines()
    assert len(half) == 30
    assert json.loads(whole) == as_dict(EVENT)
    assert events.dropped == 1


def test_a_descriptor_is_left_open_and_a_file_is_closed(tmp_path: pathlib.Path) -> None:
    """Whoever opened it closes it; what is told after the end is dropped."""
    fd = os.open(tmp_path / "mine", os.O_WRONLY | os.O_CREAT)
    JsonLinesEvents(fd).close()
    os.close(fd)
    events = JsonLinesEvents(tmp_path / "events")
    events.close()
    events.close()
    events.handle(EVENT)
    assert events.dropped == 1


def test_a_file_is_appended_to_and_not_for_everybody(tmp_path: pathlib.Path) -> None:
    """Prologue and epilogue write to one file; it names users' jobs."""
    for _ in range(2):
        with JsonLinesEvents(tmp_path / "events") as events:
            events.handle(EVENT)
    assert len((tmp_path / "events").read_text().splitlines()) == 2
    assert stat.S_IMODE((tmp_path / "events").stat().st_mode) & 0o027 == 0
    assert not os.get_inheritable(JsonLinesEvents(tmp_path / "events")._fd)


def test_a_file_that_cannot_be_opened_is_said_so(tmp_path: pathlib.Path) -> None:
    """At once, before anything is run; a symbolic link is not followed."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for path in (tmp_path / "missing" / "events", tmp_path / "link"):
        with pytest.raises(StateError, match="cannot write events to"):
            JsonLinesEvents(path)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (None, None),
        (Failure.of(ValueError("a\nb")), {"type": "ValueError", "code": 0, "message": "ValueError: a b"}),
        (Failure.of(HypervisorError("no", code=9, node="n1")),
         {"type": "HypervisorError", "code": 9, "message": "node n1: no"}),
    ],
)  # fmt: skip
def test_an_error_is_type_code_and_one_line(failure: Failure | None, error: dict[str, Any] | None) -> None:
    """Enough to group by and to read, never a traceback."""
    event = Event(1.0, "r", Kind.HOST_END, "survey", "n1", Status.FAILED, failure=failure)
    assert as_dict(event)["error"] == error
