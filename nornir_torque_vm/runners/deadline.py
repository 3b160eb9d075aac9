"""Nornir runner plugin ``deadline``: every host gets a verdict in time, whatever its task does.

Nornir's own runner waits for the slowest host for ever. This one gives up hosts and whole runs when
their time is over; the threads that hang are daemons and stay behind (see :mod:`..threads`).

``host_timeout``, ``run_timeout`` and ``cancel`` are the words of nornir#1086, so that this module
can go when Nornir learns to do it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, Task

from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import SettingsError
from nornir_torque_vm.report import status_of
from nornir_torque_vm.runners.slot import Slot, tell, verdict
from nornir_torque_vm.threads import abandon, stragglers

__all__ = ["DeadlineRunner", "status_of", "stragglers"]

POLL = 0.1
"""Longest time, in seconds, until a run notices that it was cancelled."""


class DeadlineRunner:
    """Run a task on many hosts at once, each and all within their time.

    :param num_workers: how many hosts run at the same time.
    :param run_timeout: seconds for one run, counted from its start.
    :param host_timeout: seconds for each host, counted from the host's own start.
    :param deadline: an absolute deadline, shared by all runs of this runner and whoever else has it.
    :raises SettingsError: an option is not a positive number.

    The strictest limit counts, and so does the deadline of the thread that calls :meth:`run`. A host
    that is late, was never started or was cancelled has an ordinary failed result whose exception
    is :class:`~nornir_torque_vm.errors.DeadlineExceeded` or its subclass ``Cancelled``.

    Processors are called one at a time per host, by the worker or by the run; one that blocks
    blocks the run, one that raises is logged and otherwise ignored.
    """

    def __init__(
        self,
        num_workers: int = 64,
        run_timeout: float | None = None,
        host_timeout: float | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        _check_positive("num_workers", num_workers, int)
        _check_positive("run_timeout", run_timeout, float)
        _check_positive("host_timeout", host_timeout, float)
        self.num_workers = num_workers
        self.run_timeout, self.host_timeout = run_timeout, host_timeout
        self.deadline = deadline
        self.cancelled = False

    def cancel(self) -> None:
        """End the present run within 0.1 s and every later one at once; safe in a signal handler."""
        self.cancelled = True

    def run(self, task: Task, hosts: list[Host]) -> AggregatedResult:
        """Return one result per host, no later than the strictest limit allows."""
        run = _Run(self, task, hosts)
        try:
            run.wait()
        finally:
            run.close()
        out = AggregatedResult(task.name)
        for slot in run.slots:
            if slot.result is not None:
                out[slot.host.name] = slot.result
        return out


def _check_positive(name: str, value: Any, kind: type[int | float]) -> None:
    if value is not None and not (isinstance(value, int | kind) and value > 0):
        raise SettingsError(f"runner option {name} is {value!r}", hint="it must be a positive number")


class _Run:
    """One call of :meth:`DeadlineRunner.run`."""

    def __init__(self, runner: DeadlineRunner, task: Task, hosts: list[Host]) -> None:
        self.runner, self.task = runner, task
        self.slots = [Slot(task, host) for host in hosts]
        self.started = time.monotonic()
        self._limits = [limit for limit in (runner.deadline, current.get()) if limit is not None]
        if runner.run_timeout is not None:
            self._limits.append(Deadline(self.started + runner.run_timeout))
        self._end = min(limit.at for limit in self._limits)
        self._queue = deque(self.slots)
        # In the order they started, so that with one timeout for all the first is due first.
        self._running: deque[Slot] = deque()
        self._open = len(self.slots)
        self._wake = threading.Condition()
        for processor in task.processors:  # Nornir itself never says which hosts a run is about
            if hasattr(processor, "hosts_selected"):
                tell(processor, "hosts_selected", task, hosts)

    def wait(self) -> None:
        """Start the workers and return when each host has its verdict."""
        if not self._judge(time.monotonic()):
            for _ in range(min(self.runner.num_workers, len(self.slots))):
                self._spawn()
        while True:
            self._judge(time.monotonic())
            with self._wake:
                if not self._open:
                    return
                self._wake.wait(max(0.0, min(POLL, self._next_due() - time.monotonic())))

    def close(self) -> None:
        """Make sure no worker of this run can act or speak any more."""
        for slot in self.slots:
            slot.drop()

    def _judge(self, now: float) -> bool:
        """Give up the hosts whose time is over; return whether that is all of them."""
        over, cancelled = now >= self._end, self.runner.cancelled or any(map(_was_cancelled, self._limits))
        if over or cancelled:
            self._give_up(self.slots, now, cancelled=not over)
        else:
            self._replace_late(now)
        return over or cancelled

    def _next_due(self) -> float:
        """When, on the monotonic clock, the next host may be late.

        A host that starts while we sleep is due no earlier than ``host_timeout`` from now, which
        bounds the sleep as well: so starting a host need not wake us.
        """
        if self.runner.host_timeout is None:
            return self._end
        first = self._running[0].deadline.at if self._running else self._end
        return min(first, self._end, time.monotonic() + self.runner.host_timeout)

    def _replace_late(self, now: float) -> None:
        """Give up the hosts whose own time is over and put fresh workers in place of theirs."""
        while self._running and (self._running[0].settled or now >= self._running[0].deadline.at):
            slot = self._running.popleft()
            if not slot.settled and self._give_up([slot], now, cancelled=False) and self._queue:
                self._spawn()

    def _give_up(self, slots: list[Slot], now: float, *, cancelled: bool) -> int:
        """Judge those of ``slots`` that have no verdict; return how many there were."""
        given_up = [slot for slot in slots if slot.give_up(now, self.started, cancelled=cancelled)]
        for slot in given_up:
            if slot.thread is not None:
                abandon(slot.thread)
        with self._wake:
            self._open -= len(given_up)
        return len(given_up)

    def _spawn(self) -> None:
        threading.Thread(target=self._work, daemon=True, name=f"nornir:{self.task.name}").start()

    def _work(self) -> None:
        """Take hosts off the queue until it is empty or this worker's host is given up."""
        while True:
            try:
                slot = self._queue.popleft()
            except IndexError:
                return
            if not slot.begin(self._end, self.runner.host_timeout):
                continue
            self._running.append(slot)
            current.set(slot.deadline)
            try:
                result = slot.task.start(slot.host)
            except BaseException as error:  # noqa: BLE001 - SystemExit in one task must not lose the run
                result = verdict(slot.task, slot.host, error)
            if not slot.done(result):
                return  # abandoned; a fresh worker took this one's place
            with self._wake:
                self._open -= 1
                if not self._open:
                    self._wake.notify()


def _was_cancelled(limit: Deadline) -> bool:
    """Whether ``limit`` is over before its time."""
    return limit.remaining() <= 0.0 and time.monotonic() < limit.at
