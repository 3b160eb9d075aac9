"""One host of one run: its state, its single verdict, and the gate its events pass."""

from __future__ import annotations

import enum
import logging
import threading
import time

from nornir.core.inventory import Host
from nornir.core.processor import Processors
from nornir.core.task import MultiResult, Result, Task

from nornir_torque_vm.deadline import NEVER, Deadline
from nornir_torque_vm.errors import Cancelled, DeadlineExceeded

log = logging.getLogger(__name__)


class State(enum.Enum):
    """QUEUED → RUNNING → DONE | GIVEN_UP; a queued host may be given up at once."""

    QUEUED = 0
    RUNNING = 1
    DONE = 2
    GIVEN_UP = 3


def verdict(task: Task, host: Host, error: BaseException) -> MultiResult:
    """Return the failed result of ``task`` on ``host`` as Nornir itself would have built it."""
    multi = MultiResult(task.name)
    multi.append(_failure(task.name, host, error))
    return multi


def _failure(name: str, host: Host, error: BaseException) -> Result:
    result = Result(host, result=str(error), failed=True, exception=error, severity_level=logging.ERROR)
    result.name = name  # type: ignore[assignment]  # nornir annotates it None and stores the task's name
    return result


def tell(processor: object, event: str, *args: object) -> None:
    """Call a processor's method; an exception is logged, never raised."""
    try:
        getattr(processor, event)(*args)
    except Exception:
        log.exception("processor %r failed in %s", processor, event)


class Slot(Processors):
    """The processors of one host's copy of the task, behind a gate.

    Nornir tells the copy's processors what happens. Events pass only while the host is RUNNING, so an
    abandoned worker speaks to nobody, and the verdict is announced once, by whoever reaches it first.
    """

    def __init__(self, task: Task, host: Host) -> None:
        super().__init__(task.processors)
        self.task, self.host = task, host
        self.state = State.QUEUED
        self.result: MultiResult | None = None
        self.deadline, self.started_at = NEVER, 0.0  # everybody's, until there is one of its own
        self.thread: threading.Thread | None = None
        self._steps: list[Task] = []  # subtasks now running, outermost first
        self._gate = threading.Lock()

    @property
    def settled(self) -> bool:
        """Whether there is a verdict."""
        return self.state in (State.DONE, State.GIVEN_UP)

    def begin(self, end: float, host_timeout: float | None) -> bool:
        """Start the host's clock in the calling thread; False when it was given up meanwhile.

        :param end: when the whole run is over, on the monotonic clock.
        """
        with self._gate:
            if self.state is not State.QUEUED:
                return False
            self.started_at = time.monotonic()
            at = end if host_timeout is None else min(end, self.started_at + host_timeout)
            self.deadline, self.thread = Deadline(at), threading.current_thread()
            self.state = State.RUNNING
            self.task = self.task.copy()
            self.task.processors = self
            return True

    def done(self, result: MultiResult) -> bool:
        """Accept the worker's own result; False when the host was given up before."""
        with self._gate:
            if self.settled:
                return False
            self._settle(State.DONE, result)
            return True

    def give_up(self, now: float, run_started: float, *, cancelled: bool) -> bool:
        """Judge a host that has no result at ``now``; False when it got one just before.

        Its worker, if any, is left alone: its deadline becomes due, its events vanish.
        """
        with self._gate:
            if self.settled:
                return False
            result = self._late_result(now, run_started, cancelled)
            self._stop_worker()
            self._settle(State.GIVEN_UP, result)
            return True

    def drop(self) -> None:
        """Close the gate without a verdict: the run itself is being torn down by an exception."""
        with self._gate:
            if not self.settled:
                self._stop_worker()
                self.state = State.GIVEN_UP

    def _stop_worker(self) -> None:
        """Make the host's own deadline due, if it has one."""
        if self.state is State.RUNNING:
            self.deadline.cancel()

    def _late_result(self, now: float, run_started: float, cancelled: bool) -> MultiResult:
        """Return the verdict of a given-up host, followed by what its finished subtasks returned."""
        kind, word = (Cancelled, "cancelled") if cancelled else (DeadlineExceeded, "late")
        if self.state is State.QUEUED:
            waited = now - run_started
            sentence = "cancelled before it started" if cancelled else f"not started after {waited:.1f} s"
            return verdict(self.task, self.host, kind(sentence, started=False))
        step = self._steps[-1] if self._steps else self.task
        error = kind(f"{word} in {step.name} after {now - self.started_at:.1f} s")
        result = verdict(self.task, self.host, error)
        result.extend(list(self.task.results))  # a copy: the worker may still add to its own
        if step is not self.task:
            result.append(_failure(step.name, self.host, error))
        return result

    def _settle(self, state: State, result: MultiResult) -> None:
        self.state, self.result = state, result
        self._emit("task_instance_completed", self.task, self.host, result)

    def _emit(self, event: str, *args: object) -> None:
        for processor in self:
            tell(processor, event, *args)

    def task_instance_started(self, task: Task, host: Host) -> None:
        """Let the event pass while the host is running."""
        with self._gate:
            if self.state is State.RUNNING:
                self._emit("task_instance_started", task, host)

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Nothing: :meth:`done` announces the verdict, so that there is exactly one."""

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """Let the event pass while the host is running, and remember what it is doing."""
        with self._gate:
            if self.state is State.RUNNING:
                self._steps.append(task)
                self._emit("subtask_instance_started", task, host)

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Let the event pass while the host is running."""
        with self._gate:
            if self.state is State.RUNNING:
                self._steps = [step for step in self._steps if step is not task]
                self._emit("subtask_instance_completed", task, host, result)
