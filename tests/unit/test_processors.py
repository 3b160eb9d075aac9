"""The stream of events behind all our processors, and the timeline made of it."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

import pytest
from nornir.core.exceptions import NornirExecutionError
from nornir.core.task import Result, Task
from nornir.plugins.runners import SerialRunner, ThreadedRunner
from nornir_kit import noop, nornir_of

from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.processors.base import Event, EventProcessor, Kind
from nornir_torque_vm.processors.timeline import TimelineProcessor
from nornir_torque_vm.report import Status
from nornir_torque_vm.runners.deadline import DeadlineRunner


class Recorder(EventProcessor):
    """Keeps all events."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def handle(self, event: Event) -> None:
        self.events.append(event)

    def told(self, host: str = "") -> list[tuple[str, str, str | None]]:
        """Kind, task and status of the events of a host, or of the runs."""
        return [(event.kind, event.task, event.status) for event in self.events if event.host == host]


def prepare_image(task: Task) -> Result:
    return Result(host=task.host, changed=True)


def start_guest(task: Task) -> Result:
    time.sleep(0.02)
    if task.host.name == "bad":
        raise HypervisorError("no such bridge", code=38, guest="bad", hint="create it")
    if task.host.name == "hung":
        hold.wait(10)
    return Result(host=task.host)


def boot_guest(task: Task) -> Result:
    task.run(prepare_image)
    task.run(start_guest)
    return Result(host=task.host)


hold = threading.Event()


@pytest.mark.parametrize("runner", [SerialRunner(), ThreadedRunner(), DeadlineRunner()])
def test_a_run_is_told_from_start_to_end_under_any_runner(runner: Any) -> None:
    """The run, its hosts, their steps, each with its verdict."""
    recorder = Recorder()
    nornir_of(["good", "bad"], runner, [recorder]).run(boot_guest)
    assert recorder.told("good") == [
        ("host_start", "boot_guest", None),
        ("step_start", "prepare_image", None),
        ("step_end", "prepare_image", "changed"),
        ("step_start", "start_guest", None),
        ("step_end", "start_guest", "ok"),
        ("host_end", "boot_guest", "changed"),
    ]
    assert recorder.told("bad")[-2:] == [
        ("step_end", "start_guest", "failed"),
        ("host_end", "boot_guest", "failed"),
    ]
    assert recorder.told() == [("run_start", "boot_guest", None), ("run_end", "boot_guest", "failed")]


def test_what_ended_says_since_when_how_long_and_why() -> None:
    """Times on both clocks; the failure at its root, with libvirt's code."""
    recorder = Recorder()
    before = time.time()
    nornir_of(["bad"], processors=[recorder]).run(boot_guest)
    step, host, run = [event for event in recorder.events if event.kind.endswith("_end")][-3:]
    for event in (step, host, run):
        assert event.started is not None
        assert event.seconds is not None
        assert before - 0.01 <= event.started <= event.t <= time.time() + 0.01
        assert 0.02 <= event.seconds < 5
    assert step.started >= host.started >= run.started  # type: ignore[operator]
    for event in (step, host):
        assert event.failure is not None
        assert (event.failure.kind, event.failure.code, event.failure.what) == (
            "HypervisorError", 38, "no such bridge; create it",
        )  # fmt: skip
    assert (step.phase, host.phase) == ("start", "boot_guest")
    assert len({event.run for event in recorder.events}) == 1


def test_a_late_host_ends_with_the_step_it_was_in() -> None:
    """So that a timeline shows where the time went, and each start has an end."""
    recorder = Recorder()
    hold.clear()
    nornir_of(["hung", "never"], DeadlineRunner(num_workers=1, run_timeout=0.5), [recorder]).run(boot_guest)
    hold.set()
    assert recorder.told("hung")[-2:] == [
        ("step_end", "start_guest", "late"),
        ("host_end", "boot_guest", "late"),
    ]
    assert recorder.told("never") == [("host_end", "boot_guest", "not_started")]
    end = next(event for event in recorder.events if event.host == "never")
    assert (end.started, end.seconds) == (None, None)


def test_each_run_has_an_id_and_an_end_even_when_interrupted() -> None:
    """raise_on_error and Ctrl-C skip Nornir's own call; the next run or close() makes up for it."""
    with Recorder() as recorder:
        nornir = nornir_of(["bad"], processors=[recorder])
        for _ in range(2):
            with pytest.raises(NornirExecutionError):
                nornir.run(boot_guest, raise_on_error=True)
    assert recorder.told() == [
        ("run_start", "boot_guest", None), ("run_end", "boot_guest", "cancelled"),
        ("run_start", "boot_guest", None), ("run_end", "boot_guest", "cancelled"),
    ]  # fmt: skip
    assert len({event.run for event in recorder.events}) == 2


def test_a_processor_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    """With Nornir's own runner an exception here would lose the results of all hosts."""

    class Broken(EventProcessor):
        def handle(self, event: Event) -> None:
            raise OSError("No space left on device")

    with caplog.at_level(logging.WARNING), Broken() as broken:
        result = nornir_of(["good"], SerialRunner(), [broken]).run(boot_guest)
    assert not result.failed
    assert "Broken failed on task boot_guest: OSError: No space left on device" in caplog.text
    assert "Traceback" not in caplog.text


def test_closing_connections_is_no_news() -> None:
    """Nornir runs a task for it, which nobody started."""
    recorder = Recorder()
    nornir_of(["good"], processors=[recorder]).close_connections()
    assert recorder.events == []


def test_the_timeline_has_a_span_per_host_and_phase() -> None:
    """Of nested tasks only the phases count; several runs add up; a bare task is its own phase."""

    def administrators_own(task: Task) -> Result:
        task.run(boot_guest)
        return Result(host=task.host)

    collected = TimelineProcessor()
    nornir = nornir_of(["good", "bad"], processors=[collected])
    nornir.run(administrators_own)
    nornir.run(noop, on_failed=True)
    phases = {(span.host, span.phase): span.status for span in collected.spans}
    assert phases == {
        ("good", "image"): Status.CHANGED, ("good", "start"): Status.OK, ("good", "noop"): Status.OK,
        ("bad", "image"): Status.CHANGED, ("bad", "start"): Status.FAILED, ("bad", "noop"): Status.OK,
    }  # fmt: skip
    assert all(abs(span.start - time.time()) < 60 for span in collected.spans)
    assert all(span.seconds >= 0.02 for span in collected.spans if span.phase == "start")
    assert collected.timeline().rows()[0].trouble == "failed in start"


def test_a_host_that_never_began_has_no_span() -> None:
    """There is no time to show."""
    collected = TimelineProcessor()
    hold.clear()
    runner = DeadlineRunner(num_workers=1, run_timeout=0.5)
    nornir_of(["hung", "never"], runner, [collected]).run(start_guest)
    hold.set()
    assert [(span.host, span.phase, span.status) for span in collected.spans] == [
        ("hung", "start", Status.LATE)
    ]


def test_events_of_many_hosts_at_once_stay_in_order_per_host() -> None:
    """64 hosts in parallel: every one has its four steps between its start and its end."""
    recorder = Recorder()
    hosts = [f"g{n}" for n in range(64)]
    nornir_of(hosts, processors=[recorder]).run(boot_guest)
    expected = [
        Kind.HOST_START,
        Kind.STEP_START,
        Kind.STEP_END,
        Kind.STEP_START,
        Kind.STEP_END,
        Kind.HOST_END,
    ]
    for host in hosts:
        assert [event.kind for event in recorder.events if event.host == host] == expected
