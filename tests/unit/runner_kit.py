"""What tests of the deadline runner share: a task that hangs, a processor that remembers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Result, Task

from nornir_torque_vm.report import Status
from nornir_torque_vm.runners.deadline import status_of, stragglers

LIMIT = 0.5
"""Seconds in which a busy machine certainly starts a few threads, so that what hangs has begun."""
LATENESS = 1.0
"""Seconds a run may exceed its limit on a machine that is busy with other things; measured: 1 to 10 ms."""


class Blocker:
    """Something a task can hang in, as in a C call: it heeds no deadline."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, task: Task, only: tuple[str, ...] = ()) -> Result:
        if not only or task.host.name in only:
            self.gate.wait(20)
        return Result(host=task.host)


@pytest.fixture
def hang() -> Iterator[Callable[..., Result]]:
    """A task that hangs until the test is over; all its threads have ended after the test."""
    blocker = Blocker()

    def hang(task: Task, only: tuple[str, ...] = ()) -> Result:
        return blocker(task, only)

    yield hang
    blocker.gate.set()
    end = time.monotonic() + 5
    while stragglers() and time.monotonic() < end:
        time.sleep(0.01)
    assert stragglers() == ()


class Recorder:
    """A processor that writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []
        self.verdicts: list[tuple[str, MultiResult]] = []
        self.after_the_end: list[str] = []
        self.over = False

    def _note(self, event: str, task: Task, host: Host) -> None:
        self.events.append((event, task.name, host.name))
        if self.over:
            self.after_the_end.append(f"{event} {task.name} {host.name}")

    def task_started(self, task: Task) -> None:
        self.over = False

    def task_completed(self, task: Task, result: AggregatedResult) -> None:
        self.over = True

    def task_instance_started(self, task: Task, host: Host) -> None:
        self._note("started", task, host)

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        self._note("completed", task, host)
        self.verdicts.append((host.name, result))

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        self._note("step started", task, host)

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        self._note("step completed", task, host)


def timed(call: Callable[[], AggregatedResult]) -> tuple[AggregatedResult, float]:
    began = time.monotonic()
    result = call()
    return result, time.monotonic() - began


def statuses(result: AggregatedResult) -> dict[str, Status]:
    return {host: status_of(multi) for host, multi in result.items()}
