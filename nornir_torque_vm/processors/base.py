"""Nornir's six callbacks, told as a stream of events with times and verdicts.

A processor that raises would lose the whole run (Nornir calls it outside its own ``try``), so the
callbacks here never do: what goes wrong in a subclass is logged in one line and forgotten.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import logging
import secrets
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Self

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

from nornir_torque_vm.phases import phase_of
from nornir_torque_vm.report import Failure, Report, Status

P = ParamSpec("P")

log = logging.getLogger(__name__)

_HOUSEKEEPING = "close_connections_task"
"""What ``Nornir.close_connections`` calls its task: nobody wants to read about it."""


class Kind(enum.StrEnum):
    """What happened. A step is a subtask; a run is one call of ``Nornir.run``."""

    RUN_START = "run_start"
    HOST_START = "host_start"
    STEP_START = "step_start"
    STEP_END = "step_end"
    HOST_END = "host_end"
    RUN_END = "run_end"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, at ``t`` seconds since the epoch."""

    t: float
    run: str
    kind: Kind
    task: str
    host: str = ""
    """Empty for a run."""
    status: Status | None = None
    """Of what ended; of a run: ``ok`` when no host failed, else ``failed``."""
    started: float | None = None
    """When what ended had begun, in seconds since the epoch; None when it never had."""
    seconds: float | None = None
    """How long it took, by the monotonic clock."""
    changed: bool | None = None
    failure: Failure | None = None

    @property
    def phase(self) -> str:
        """The phase word of the task."""
        return phase_of(self.task)


@dataclasses.dataclass(frozen=True, slots=True)
class _Begun:
    """Something that has begun and not ended; the clocks are None when it never began."""

    task: str
    wall: float | None = None
    monotonic: float | None = None

    @classmethod
    def now(cls, task: Task) -> _Begun:
        return cls(task.name, time.time(), time.monotonic())

    @classmethod
    def never(cls, task: Task) -> _Begun:
        return cls(task.name)

    @property
    def seconds(self) -> float | None:
        return None if self.monotonic is None else time.monotonic() - self.monotonic


_NOTHING = _Begun("")
"""No run is going on."""


def _guarded(
    callback: Callable[Concatenate[Any, Task, P], None],
) -> Callable[Concatenate[Any, Task, P], None]:
    """Make a callback silent about housekeeping and about its own exceptions."""

    @functools.wraps(callback)
    def guarded(self: Any, task: Task, /, *args: P.args, **kwargs: P.kwargs) -> None:
        if task.name == _HOUSEKEEPING:
            return
        try:
            callback(self, task, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - see the module
            name = type(self).__name__
            log.warning("%s failed on task %s: %s: %s", name, task.name, type(error).__name__, error)

    return guarded


class EventProcessor:
    """Base of our processors; a subclass says in :meth:`handle` what to do with an event.

    Serves one run at a time, its hosts in parallel. A context manager: a run that was interrupted
    (``raise_on_error``, Ctrl-C) gets its end from :meth:`close`.
    """

    def __init__(self) -> None:
        self._run, self._run_begun = "", _NOTHING
        self._open: dict[str, list[_Begun]] = {}  # host → the task and its subtasks now running

    def handle(self, event: Event) -> None:
        """Do something with an event; called from many threads, for each host in order."""
        raise NotImplementedError

    def close(self) -> None:
        """End a run that was interrupted; let go of what this processor holds. May be called twice."""
        if self._run_begun is not _NOTHING:
            with contextlib.suppress(Exception):
                self._end_run(Status.CANCELLED)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    @_guarded
    def task_started(self, task: Task) -> None:
        """A run begins."""
        if self._run_begun is not _NOTHING:
            self._end_run(Status.CANCELLED)
        self._run, self._run_begun = secrets.token_hex(4), _Begun.now(task)
        self._open.clear()
        self._begin(Kind.RUN_START, self._run_begun)

    @_guarded
    def task_completed(self, task: Task, result: AggregatedResult) -> None:  # noqa: ARG002 - Nornir's signature
        """A run is over."""
        self._end_run(Status.FAILED if result.failed else Status.OK)

    @_guarded
    def task_instance_started(self, task: Task, host: Host) -> None:
        """A host begins."""
        begun = _Begun.now(task)
        self._open[host.name] = [begun]
        self._begin(Kind.HOST_START, begun, host.name)

    @_guarded
    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """A step of a host begins."""
        begun = _Begun.now(task)
        self._open.setdefault(host.name, []).append(begun)
        self._begin(Kind.STEP_START, begun, host.name)

    @_guarded
    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """A step of a host is over."""
        open_here = self._open.get(host.name)
        self._end(Kind.STEP_END, open_here.pop() if open_here else _Begun.never(task), host, result)

    @_guarded
    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """A host has its verdict; the steps it was given up in end with it."""
        open_here = self._open.pop(host.name, None) or [_Begun.never(task)]
        for step in reversed(open_here[1:]):
            self._end(Kind.STEP_END, step, host, result)
        self._end(Kind.HOST_END, open_here[0], host, result)

    def _begin(self, kind: Kind, begun: _Begun, host: str = "") -> None:
        self.handle(Event(begun.wall or 0.0, self._run, kind, begun.task, host))

    def _end(self, kind: Kind, begun: _Begun, host: Host, result: MultiResult) -> None:
        verdict = Report.from_results({host.name: result}).hosts[0]
        self.handle(
            Event(
                t=time.time(),
                run=self._run,
                kind=kind,
                task=begun.task,
                host=host.name,
                status=verdict.status,
                started=begun.wall,
                seconds=begun.seconds,
                changed=verdict.changed,
                failure=verdict.failure,
            )
        )

    def _end_run(self, status: Status) -> None:
        begun, self._run_begun = self._run_begun, _NOTHING
        self.handle(
            Event(
                t=time.time(),
                run=self._run,
                kind=Kind.RUN_END,
                task=begun.task,
                status=status,
                started=begun.wall,
                seconds=begun.seconds,
            )
        )
