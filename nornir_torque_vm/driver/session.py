"""A job on the lab from one call: image, lab, hooks, submission, progress and verdict."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, TextIO

from nornir_torque_vm.driver.batch import SIGNALLED, BatchJob, Outcome, Submission
from nornir_torque_vm.driver.deploy import deploy_hooks
from nornir_torque_vm.driver.spool import Follower
from nornir_torque_vm.driver.terminal import Desk
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.model import Owner
from nornir_torque_vm.plan import plan_from_json
from nornir_torque_vm.processors.base import EventProcessor
from nornir_torque_vm.processors.replay import job_timeline, read_events
from nornir_torque_vm.timeline import Timeline

LAB_OWNER = Owner("alice", 2001, 2001, "alice", "/home/alice", "/bin/bash")
"""The account every lab node has for jobs; TORQUE runs none of root's."""
HISTORY = "var/log/torque-vm"
"""Where a lab's nodes keep the history of jobs."""


class Stream(Protocol):
    """Where a job's output goes."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""

    def flush(self) -> object:
        """Pass on what was taken."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """A job that is over: what TORQUE would say of it, and what its mother superior wrote down."""

    outcome: Outcome
    verdict: dict[str, Any]
    """The prologue's: ``outcome`` and ``sentence``; empty when it left none."""
    timeline: Timeline

    @property
    def exit_code(self) -> int:
        """The job's exit code, 128 + signal for a job that was killed; our own are 120 to 125."""
        status = self.outcome.exit_status
        if self.outcome.fate == "start":
            if status >= SIGNALLED:
                return 128 + status - SIGNALLED
            return status if status >= 0 else 128 + signal.SIGTERM
        if self.outcome.fate == "abort":
            return RunExit.REFUSED
        return int(self.verdict.get("run_exit", RunExit.SITE))


class Session:
    """Runs jobs on a lab that is up.

    :param out, err: take the job's output as it appears.
    :param watch: shown the hooks' events; closed by the caller.
    """

    def __init__(self, lab: Lab, out: Stream, err: Stream, watch: EventProcessor | None = None) -> None:
        self.lab, self.out, self.err, self.watch = lab, out, err, watch
        self.job: BatchJob | None = None
        self._cancelled = False
        self._rest = b""

    def run(
        self,
        submission: Submission,
        *,
        max_starts: int = 1,
        alarm: float = 300.0,
        number: tuple[int, int] | None = None,
        desk: Desk | None = None,
    ) -> Ended:
        """Run one job to its end; nothing of it stays but its history on the mother superior.

        :param number: of a member of an array: the array's and its own.
        :param desk: where the user of an interactive job sits.
        :raises LabError: the lab cannot run it.
        """
        with self._count():  # whoever deploys beside us writes the same files
            starters = {deploy_hooks(self.lab.root(node)) for node in submission.hosts}
        sequence, index = number or (self.next_number(), None)
        self.job = BatchJob(
            self.lab, submission, LAB_OWNER, sequence,
            starter=starters.pop(), alarm=alarm, index=index, desk=desk,
        )  # fmt: skip
        if self._cancelled:
            self.job.delete()
        with self._watching(submission.hosts[0], self.job.job.job_id):
            outcome = self.job.run(max_starts=max_starts, out=_sink(self.out), err=_sink(self.err))
        history = self._history(submission.hosts[0], self.job.job.job_id)
        verdict = _json(history / "verdict.json") if history else {}
        return Ended(outcome, verdict, _timeline(history) if history else Timeline())

    def cancel(self) -> None:
        """Do to the job, or to one that is about to start, what ``qdel`` does; safe in a signal handler."""
        self._cancelled = True
        if self.job is not None:
            self.job.delete()

    def next_number(self) -> int:
        """Count the lab's jobs, so that ids are not used twice while the lab is up."""
        with self._count() as file:
            number = int(file.read() or 0) + 1
            file.seek(0)
            file.write(str(number))
        return number

    @contextlib.contextmanager
    def _count(self) -> Iterator[TextIO]:
        """The file with the number of the last job, for one process and thread at a time."""
        path = self.lab.paths.state / "jobs"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with open(fd, "r+", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file

    def _history(self, node: str, job_id: str) -> Path | None:
        """The newest attempt's folder on the mother superior."""
        folder = self.lab.root(node) / HISTORY
        attempts = sorted(
            (int(path.name.rpartition(".")[2]), path)
            for path in folder.glob("*")
            if path.name.rpartition(".")[0] in {job_id, job_slug(job_id)}
            and path.name.rpartition(".")[2].isdigit()
        )
        return attempts[-1][1] if attempts else None

    @contextlib.contextmanager
    def _watching(self, node: str, job_id: str) -> Iterator[None]:
        if self.watch is None:
            yield
            return

        def find() -> Path | None:
            folder = self._history(node, job_id)
            return folder / "events.jsonl" if folder else None

        follower = Follower(find, self._show)
        follower.start()
        try:
            yield
        finally:
            follower.finish()

    def _show(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for event in read_events(lines):
            if self.watch is not None:
                self.watch.handle(event)


def _sink(stream: Stream) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        stream.write(data)
        stream.flush()

    return write


def _timeline(history: Path) -> Timeline:
    try:
        plan = plan_from_json((history / "plan.json").read_text(encoding="utf-8"))
        lines = (history / "events.jsonl").read_bytes().splitlines()
    except (OSError, ValueError):  # the job failed before there was a plan
        return Timeline()
    return job_timeline(list(read_events(lines)), plan)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
