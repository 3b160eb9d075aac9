"""A job with a guest on each node, by the installed qsub, and what became of each.

All at the same time and under one deadline. The server is asked about all of them at once, at most every
second at first and every ten seconds in the end. What has not ended is deleted, and nothing is kept.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.engine import Engine
from nornir_torque_vm.errors import Cancelled, DeadlineExceeded, RequestError, StorageError, TorqueVMError
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.ownerfile import begin_as_owner
from nornir_torque_vm.reap.qstat import NoAnswer
from nornir_torque_vm.report import Failure, HostReport, Report, Status
from nornir_torque_vm.selftest.answers import Seen, parse_jobs
from nornir_torque_vm.selftest.commands import PATIENCE, AsUser, NotRun
from nornir_torque_vm.selftest.judge import SCRIPT, JobFailed, Outcome, judge, read_output
from nornir_torque_vm.selftest.remains import look
from nornir_torque_vm.selftest.server import AtHand

FOLDER = ".torque-vm-selftest-"
"""Beginning of the name of the directory, in the user's home, that the jobs' output comes back to."""
SMALL = "vcpus=1,vms_per_node=1"
"""The request, before what the caller asks for."""
QUEUE_SECONDS = 120.0
"""What a job takes at most, on a node that has room, beside the start of its guest."""
POLL_FIRST, POLL_LONGEST = 1.0, 10.0
"""Seconds between two questions to the server."""
AT_ONCE = 64
"""Jobs that one question, or one deletion, is about."""
SUBMITTERS = 4
"""Calls of qsub at the same time."""
ENDING_SECONDS = 30.0
"""What a deleted job may take to end, beside the removal of its guest."""
COMING_BACK = 5.0
"""Seconds that a file may take to be seen here after the job is over: file servers' clients remember."""
WORDS = {"Q": "waits", "R": "was started", "E": "ends", "C": "is over", "": "is over", "H": "is held"}


@dataclasses.dataclass
class Trial:
    """One node's job."""

    node: str
    job_id: str = ""
    began: float = 0.0
    seconds: float = 0.0
    refused: TorqueVMError | None = None
    """Why there is no job."""
    seen: Seen | None = None
    gone: bool = False
    """Whether it is over, whenever that was."""
    out: str | None = None
    err: str = ""
    left: Sequence[str] = ()
    unseen: str = ""
    """Why what is left cannot be seen from here."""


class JobTest:
    """A self-test by jobs.

    :param deadline: by which all jobs have to be over.
    :param tell: called with a sentence when something happens.
    """

    def __init__(
        self, settings: Settings, site: AtHand, user: AsUser, deadline: Deadline, tell: Callable[[str], None]
    ) -> None:
        self.settings, self.site, self.user, self.deadline, self.tell = settings, site, user, deadline, tell
        self.trials: list[Trial] = []
        self.folder = self._silence = ""

    def run(self, nodes: Sequence[str], requests: Sequence[str]) -> Report:
        """Submit a job to each node, wait for them, judge them; leave nothing.

        :param requests: values of ``-vm``, after :data:`SMALL`.
        :raises NotRun: the user's home cannot take the output.
        """
        self.trials = [Trial(node, refused=self.site.unfit(node)) for node in nodes]
        try:
            self.folder = self._make_folder()
            with ThreadPoolExecutor(SUBMITTERS) as pool:
                list(pool.map(lambda trial: self._submit(trial, requests), self._of(lambda t: not t.refused)))
            self._wait(self.deadline, self._note)
        finally:
            interrupted = self.deadline.remaining() <= 0.0 and time.monotonic() < self.deadline.at
            self._end()
        return Report(tuple(self._verdict(trial, cancelled=interrupted) for trial in self.trials))

    def _of(self, wanted: Callable[[Trial], bool]) -> list[Trial]:
        return [trial for trial in self.trials if wanted(trial)]

    def _open(self) -> list[Trial]:
        """Those whose jobs are not over, as far as is known."""
        return self._of(lambda trial: bool(trial.job_id) and not trial.gone)

    def _make_folder(self) -> str:
        start = f"{self.user.owner.home.rstrip('/')}/{FOLDER}"
        done = self.user.run(["mktemp", "-d", f"{start}XXXXXX"], self.deadline)
        folder = done.out.removesuffix("\n")
        if done.code or not folder.startswith(start) or not folder.isprintable():
            raise NotRun(
                f"{self.user.owner.name} cannot make a directory for the jobs' output: {done.complaint}",
                hint=f"look at {self.user.owner.home}, or name another user with --user",
            )
        return folder

    def _file(self, trial: Trial, kind: str) -> str:
        return f"{self.folder}/{trial.node}.{kind}"

    def _submit(self, trial: Trial, requests: Sequence[str]) -> None:
        """Submit a node's job; note its id, or why there is none."""
        walltime = math.ceil(min(self.deadline.remaining(), self.settings.timeout + QUEUE_SECONDS)) + 60
        words = [self.site.front, "-N", "selftest", "-m", "n"]
        words += ["-l", f"nodes={trial.node}:ppn=1", "-l", f"walltime={walltime}"]
        words += ["-o", self._file(trial, "out"), "-e", self._file(trial, "err"), "-vm", SMALL]
        words += [word for request in requests for word in ("-vm", request)]
        trial.began = time.monotonic()
        try:
            self.deadline.check()
            done = self.user.run(words, self.deadline, SCRIPT)
            job_id = done.out.strip()
            if done.code:
                raise JobFailed(f"qsub refuses its job: {done.complaint}")
            job_slug(job_id)
            trial.job_id = job_id
            self.tell(f"{trial.node}: job {job_id} was submitted")
        except NotRun as error:
            error.hint = f"look whether there is a job all the same: qstat -u {self.user.owner.name}"
            trial.refused = error
        except TorqueVMError as error:
            trial.refused = error
        trial.seconds = time.monotonic() - trial.began

    def _wait(self, deadline: Deadline, note: Callable[[Trial, Seen], None]) -> None:
        """Ask until all jobs are over, or the time is up."""
        for _ in deadline.backoff(POLL_LONGEST, POLL_FIRST):
            waiting = self._open()
            for start in range(0, len(waiting), AT_ONCE):
                part = waiting[start : start + AT_ONCE]
                found = self._ask([trial.job_id for trial in part], deadline)
                for trial in part if found else ():
                    note(trial, found[trial.job_id])
            if not self._open():
                return

    def _ask(self, job_ids: Sequence[str], deadline: Deadline) -> Mapping[str, Seen]:
        """What the server knows of jobs; nothing when it does not answer."""
        try:
            done = self.user.run([self.site.qstat, "-f", "-x", *job_ids], deadline)
            found = parse_jobs(job_ids, done.code, done.out, done.err)
        except (NotRun, NoAnswer) as error:
            if deadline.remaining() > 0.0:  # else it was not given the time
                self._silence = error.what
            return {}
        self._silence = ""
        return found

    def _note(self, trial: Trial, seen: Seen) -> None:
        """Keep what is known of a job before the time is up."""
        if trial.seen is None or trial.seen.state != seen.state:
            word = WORDS.get(seen.state, f"is in state {seen.state}")
            self.tell(f"{trial.node}: job {trial.job_id} {word}")
        trial.seen, trial.gone = seen, seen.over
        trial.seconds = time.monotonic() - trial.began

    def _end(self) -> None:
        """Delete what has not ended, read what came back, see what is left, and remove our directory."""
        deadline = Deadline.after(self.settings.teardown_margin + ENDING_SECONDS)
        try:
            late = [trial.job_id for trial in self._open()]
            for start in range(0, len(late), AT_ONCE):
                with contextlib.suppress(NotRun):
                    self.user.run([self.site.qdel, *late[start : start + AT_ONCE]], deadline)
            for trial in self._of(lambda trial: trial.gone):  # first: others may take all the time there is
                self._read(trial)
            silence = self._silence
            self._wait(deadline, _note_end)
            self._silence = silence
            self._look(self._of(lambda trial: trial.gone))
        finally:
            if self.folder:
                with contextlib.suppress(NotRun):
                    self.user.run(["rm", "-rf", "--", self.folder], Deadline.after(PATIENCE))

    def _read(self, trial: Trial) -> None:
        """Read a job's two streams with the user's rights; what did not come back stays None."""
        out = None
        for _ in Deadline.after(COMING_BACK).backoff():
            out = self._content(trial, "out")
            if out is not None or not (trial.seen and trial.seen.exit_status == 0):
                break
        trial.out = out
        lines = (self._content(trial, "err") or "").strip().splitlines()
        trial.err = lines[-1].strip().removeprefix("torque-vm: ") if lines else ""

    def _content(self, trial: Trial, kind: str) -> str | None:
        try:
            content, _ = begin_as_owner(
                kind, self._file(trial, kind), self.user.owner, Deadline.after(PATIENCE)
            )
        except (RequestError, StorageError):
            return None
        return content.decode(errors="replace")

    def _look(self, ended: Sequence[Trial]) -> None:
        """See what the jobs that are over have left on their nodes, as root."""
        if not ended:
            return
        if os.geteuid() != 0:
            for trial in ended:
                trial.unseen = "only root can"
            return
        engine = Engine(self.settings, Deadline.after(self.settings.teardown_margin))
        left, unseen = look(engine, self.settings, {trial.node: trial.job_id for trial in ended})
        for trial in ended:
            trial.left, trial.unseen = left.get(trial.node, ()), unseen.get(trial.node, "")

    def _verdict(self, trial: Trial, *, cancelled: bool) -> HostReport:
        """What is to be told of a node."""
        outcome = Outcome(
            trial.node, trial.job_id, trial.seen, trial.out, trial.err, trial.left, self._silence,
            trial.gone, cancelled,
        )  # fmt: skip
        error = trial.refused or judge(outcome)
        said = read_output(trial.out or "")
        unseen = f"; what is left was not looked at: {trial.unseen}" if trial.unseen else ""
        data = {"job": trial.job_id, "says": "" if error else f"{said.host}, {said.system}{unseen}"}
        failure = Failure.of(error) if error else None
        return HostReport(
            trial.node, trial.node, "job", status_of(error), round(trial.seconds, 3), failure, data=data
        )


def _note_end(trial: Trial, seen: Seen) -> None:
    """Keep of a job that was deleted only whether it has gone: how far it was in time is its verdict."""
    trial.gone = seen.over


def status_of(error: TorqueVMError | None) -> Status:
    """The verdict's word."""
    if error is None:
        return Status.OK
    if isinstance(error, Cancelled):
        return Status.CANCELLED
    return Status.LATE if isinstance(error, DeadlineExceeded) else Status.FAILED
