"""One batch job from submission to its last epilogue, in TORQUE's order."""

from __future__ import annotations

import dataclasses
import functools
import os
import secrets
import shlex
from collections.abc import Callable, Sequence
from concurrent import futures
from pathlib import Path

from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.mom import Cluster, Ended, Mom
from nornir_torque_vm.driver.slots import JobFacts
from nornir_torque_vm.driver.spool import Follower, Sink
from nornir_torque_vm.driver.terminal import Desk
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.model import Owner

SIGNALLED = 256
"""TORQUE adds this to the signal number in the exit status of a job that died of a signal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Submission:
    """What ``qsub`` would have been told."""

    script: bytes
    name: str
    hosts: Sequence[str]
    ppn: int
    resources: Sequence[str] = ()
    """Further ``-l`` words, e.g. ``other=vm1:ram=192M``."""
    arguments: Sequence[str] = ()
    walltime: int = 3600
    workdir: str = ""
    variables: tuple[tuple[str, str], ...] = ()
    job_type: str = "vm"
    """``qsub -T``; empty for a job without guests, and where TORQUE has no ``-T``."""
    array: tuple[int, ...] = ()
    """``qsub -t``: the indexes of an array's members."""
    interactive: bool = False
    """``qsub -I``: a shell at the user's terminal; there is no script."""
    array_limit: int | None = None
    """How many members may run at the same time; None for as many as there is room for."""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """How the job ended.

    ``fate`` is what the last start attempt led to: ``start`` (the job ran), ``abort`` (also: it was
    deleted before it ran) or ``requeue``.
    ``exit_status`` is TORQUE's: negative start failures, 256 + signal, else the job's own.
    """

    job_id: str
    fate: slots.Fate
    exit_status: int
    starts: int


class BatchJob:
    """One job under the driver.

    :param sequence: the number of the job; its id is ``<sequence>.<server>``.
    :param index: of the member of an array that this job is; its id is ``<sequence>[<index>].<server>``.
    :param starter: the job starter's path on the nodes; None runs the job bare.
    :param alarm: the MOM's ``$prologalarm``, seconds.
    :param desk: where the user of an interactive job sits.
    """

    def __init__(
        self,
        cluster: Cluster,
        submission: Submission,
        owner: Owner,
        sequence: int,
        *,
        server: str = "head",
        starter: str | None = None,
        alarm: float = 300.0,
        index: int | None = None,
        desk: Desk | None = None,
    ) -> None:
        self.cluster, self.submission, self.owner = cluster, submission, owner
        self.starter, self.alarm = starter, alarm
        home = slots.record()["home"]
        member = "" if index is None else f"-{index}"
        job_id = f"{sequence}.{server}" if index is None else f"{sequence}[{index}].{server}"
        self.job = JobFacts(
            job_id=job_id,
            server=server,
            user=owner.name,
            group=owner.group,
            user_home=owner.home,
            shell=owner.shell,
            job_name=f"{submission.name}{member}",
            hosts=tuple(submission.hosts),
            ppn=submission.ppn,
            resources=self.resource_list(submission),
            script=f"{home}/mom_priv/jobs/{sequence}{member}.{server}.SC",
            home_dir=home,
            workdir=submission.workdir or owner.home,
            submit_host=server,
            walltime=submission.walltime,
            arguments=shlex.join(submission.arguments),
            cookie=secrets.token_hex(16).upper(),
            variables=submission.variables,
            job_type=submission.job_type,
            array_index=index,
            interactive=submission.interactive,
            term=os.environ.get("TERM", "dumb"),
        )
        self._tasks: list[Mom] = []
        self.moms = [Mom(cluster, host, number, self.job, desk) for number, host in enumerate(self.job.hosts)]

    @staticmethod
    def resource_list(submission: Submission) -> str:
        """Resource_List as argv carries it (TF 1.3: ``neednodes`` comes last)."""
        nodes = f"{len(submission.hosts)}:ppn={submission.ppn}"
        minutes, seconds = divmod(submission.walltime, 60)
        hours, minutes = divmod(minutes, 60)
        words = [f"nodes={nodes}", *submission.resources, f"walltime={hours:02}:{minutes:02}:{seconds:02}"]
        return ",".join([*words, f"neednodes={nodes}"])

    @property
    def chief(self) -> Mom:
        """The mother superior."""
        return self.moms[0]

    def spool(self, suffix: str, mom: Mom | None = None) -> Path:
        """The spool file ``OU`` or ``ER`` of a node, as seen from here."""
        return (mom or self.chief).path(f"{self.job.home_dir}/spool/{self.job.file_name}.{suffix}")

    def spools(self, suffix: str) -> list[Path]:
        """The spool files of all nodes: a task's output stays on its node, here as there only for a while."""
        return list(dict.fromkeys(self.spool(suffix, mom) for mom in self.moms))

    def run(
        self,
        *,
        max_starts: int = 1,
        started: Callable[[], None] = lambda: None,
        out: Sink = lambda _: None,
        err: Sink = lambda _: None,
    ) -> Outcome:
        """Start the job until it is not requeued, at most ``max_starts`` times; always clean up.

        :param started: called when the prologues are through and the job begins.
        :param out, err: get the job's output while it is written.
        """
        followers = [
            Follower(functools.partial(_same, path), sink)
            for suffix, sink in (("OU", out), ("ER", err))
            for path in self.spools(suffix)
        ]
        fate: slots.Fate = "abort" if self.chief.deleted else "requeue"
        status = starts = 0
        for follower in followers:
            follower.start()
        try:
            while fate == "requeue" and starts < max_starts and not self.chief.deleted:
                starts += 1
                self._deliver()
                fate, status = self._attempt(started)
        finally:
            for follower in followers:
                follower.finish()
            self._forget()
        return Outcome(self.job.job_id, fate, status, starts)

    def delete(self) -> None:
        """What ``qdel`` leads to: the job, or its prologue, gets SIGTERM; it is not started (again)."""
        for mom in [self.chief, *self._tasks]:
            mom.delete()

    def task(self, argv: Sequence[str], number: int) -> Ended:
        """Run a task of the running job, as ``pbsdsh -n NUMBER`` on a node would; its output is the job's.

        :param number: which slot of the job it is for, counted over all nodes.
        :raises LabError: the job has no such slot.
        """
        node = number // self.job.ppn
        if not 0 <= node < len(self.job.hosts):
            raise LabError(f"job {self.job.job_id} has no slot {number}")
        mom = Mom(self.cluster, self.job.hosts[node], node, self.job)
        self._tasks.append(mom)
        return mom.start_task(self.starter, argv, number, self.job.walltime)

    def _attempt(self, started: Callable[[], None]) -> tuple[slots.Fate, int]:
        fate, status = self._sister_prologues()
        joined = fate == "start"
        if joined:
            fate, status = self._prologues()
        if fate == "start" and self.chief.deleted:
            fate = "abort"  # TF 1.8: such a job never runs, and its exit status is 0
        if fate == "start":
            started()
            ended = self.chief.start_job(self.starter, self.job.walltime)
            for mom in self._tasks:
                mom.delete()
            status = self._status(ended)
            job = dataclasses.replace(self.job, session=ended.session, exit_status=status)
            self._on_sisters("epilogue.user.parallel", "epilogue.parallel", job=job)
        else:
            # no epilogue.parallel on sisters that had joined when a start fails (TF 1.6)
            job = dataclasses.replace(self.job, exit_status=status)
        for slot in ("epilogue.user", "epilogue"):
            self.chief.hook(slot, self.alarm, job, closed=not joined)  # TF 1.5
        return fate, status

    def _status(self, ended: Ended) -> int:
        known: dict[str, int] = slots.record()["exit_status"]
        if ended.outcome == slots.ALARM:
            return known["walltime"]
        if self.job.interactive:
            return known["interactive"]
        code = int(ended.outcome)
        return SIGNALLED - code if code < 0 else code

    def _sister_prologues(self) -> tuple[slots.Fate, int]:
        fates = self._on_sisters("prologue.parallel", "prologue.user.parallel", job=self.job)
        if all(fate == "start" for fate in fates):
            return "start", 0
        return "requeue", slots.record()["exit_status"]["requeue by a sister"]

    def _prologues(self) -> tuple[slots.Fate, int]:
        for slot in ("prologue", "prologue.user"):
            fate = self._fate(self.chief, slot, self.job)
            if fate != "start":
                return fate, slots.record()["exit_status"][fate]
        return "start", 0

    def _fate(self, mom: Mom, slot: str, job: JobFacts) -> slots.Fate:
        ended = mom.hook(slot, self.alarm, job)
        return "start" if ended is None else slots.fate(slot, ended.outcome)

    def _on_sisters(self, *names: str, job: JobFacts) -> list[slots.Fate]:
        """Run hooks one after the other, on all sisters at once; what the first that failed led to."""
        sisters = self.moms[1:]
        if not sisters:
            return []

        def run(mom: Mom) -> slots.Fate:
            fates = (self._fate(mom, slot, job) for slot in names)
            return next((fate for fate in fates if fate in {"requeue", "abort"}), "start")

        with futures.ThreadPoolExecutor(len(sisters)) as pool:
            return list(pool.map(run, sisters))

    def _deliver(self) -> None:
        """Put script and nodefile where the mother superior has them."""
        home = self.job.home_dir
        for folder in ("aux", "spool", "mom_priv/jobs"):
            if not self.chief.path(f"{home}/{folder}").is_dir():
                raise LabError(
                    f"{home}/{folder} is missing", node=self.chief.node, hint="start the lab again"
                )
        _write(self.chief.path(f"{home}/aux/{self.job.job_id}"), self.job.nodefile.encode(), 0o644, 0, 0)
        owner = self.owner
        if not self.job.interactive:
            _write(self.chief.path(self.job.script), self.submission.script, 0o700, owner.uid, owner.gid)

    def _forget(self) -> None:
        """Remove what the MOM keeps of a job that is over."""
        home = self.job.home_dir
        for name in (f"aux/{self.job.job_id}", f"mom_priv/jobs/{self.job.file_name}.SC"):
            self.chief.path(f"{home}/{name}").unlink(missing_ok=True)
        for path in [*self.spools("OU"), *self.spools("ER")]:
            path.unlink(missing_ok=True)


def _same(path: Path) -> Path:
    return path


def _write(path: Path, data: bytes, mode: int, uid: int, gid: int) -> None:
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        os.fchown(fd, uid, gid)
        os.fchmod(fd, mode)
        file.write(data)
