"""One node's share of the driver: run a hook or the job there as pbs_mom would."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nornir_torque_vm.driver import slots
from nornir_torque_vm.driver.slots import JobFacts
from nornir_torque_vm.driver.terminal import Desk
from nornir_torque_vm.errors import LabError

STOP_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a job that is over its walltime."""
TERMINAL = "terminal"
"""What the record, and ``spawn.py``, call a program's terminal in place of a file."""
TERMINAL_SECONDS = 60.0
"""Limit for a node to make one."""
PROLOGALARM_MARGIN = 10
"""Seconds before ``$prologalarm`` at which a MOM kills a hook (TORQUE 6.1.3, prolog.c)."""


class Cluster(Protocol):
    """What the driver needs of the lab."""

    def enter(self, node: str) -> list[str]:
        """Return the argv prefix that runs a program inside ``node`` as root."""

    def root(self, node: str) -> Path:
        """Return the node's root directory as seen from here."""


@dataclasses.dataclass(frozen=True, slots=True)
class Order:
    """What ``spawn.py`` is told. ``stdout``/``stderr`` None means closed; ``stdin`` is text."""

    program: str
    argv: list[str]
    env: dict[str, str]
    cwd: str
    umask: int
    user: str
    stdin: str
    stdout: str | None
    stderr: str | None
    spool_owner: str
    socket: int = -1
    """Takes the other end of the program's terminal, if it has one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: exit code (negative: signal) or one of the words of ``slots``; its session."""

    outcome: int | str
    session: int = 0


class Mom:
    """pbs_mom's part on one node, for one job.

    :param nodenum: 0 on the mother superior, 1, 2 … on the sisters.
    :param desk: where the user of an interactive job sits; only the mother superior needs it.
    """

    def __init__(
        self, cluster: Cluster, node: str, nodenum: int, job: JobFacts, desk: Desk | None = None
    ) -> None:
        self.cluster, self.node, self.nodenum, self.job, self.desk = cluster, node, nodenum, job, desk
        self.deleted = False
        self._process: subprocess.Popen[str] | None = None
        self._gate = threading.RLock()  # a signal handler may call delete() from within

    def path(self, inside: str) -> Path:
        """Where a path of the node is found from here."""
        return self.cluster.root(self.node) / inside.lstrip("/")

    def hook(
        self, slot: str, alarm: float, job: JobFacts | None = None, *, closed: bool = False
    ) -> Ended | None:
        """Run the hook of ``slot`` of the job's type, else the plain one; None when the node has neither.

        :param alarm: the MOM's ``$prologalarm``, seconds.
        :param closed: without standard output and error, whatever is usual.
        """
        facts = job or self.job
        program = self._program(slot, facts.job_type)
        if program is None:
            return None
        if not slots.may_run(slot, self.path(program).stat()):
            return Ended(slots.REFUSED)
        order = self._order(slot, program, facts, stdin="")
        if closed:
            order = dataclasses.replace(order, stdout=None, stderr=None)
        limit = alarm - PROLOGALARM_MARGIN if alarm > PROLOGALARM_MARGIN else alarm
        return self._run(order, limit, deletable=slot.startswith("prologue"))

    def _program(self, slot: str, job_type: str) -> str | None:
        names = [f"{slot}.{job_type}", slot] if job_type else [slot]
        paths = (f"{self.job.home_dir}/mom_priv/{name}" for name in names)
        return next((path for path in paths if self.path(path).exists()), None)

    def start_job(self, starter: str | None, limit: float) -> Ended:
        """Run the job's script through the job starter, or bare when the node has none.

        :param limit: walltime, seconds; SIGKILL follows SIGTERM after five more.
        """
        order = self._order(
            "job", starter or self.job.shell, self.job, stdin=f"{self.job.script} {self.job.arguments}\n"
        )
        if starter is None:
            order = dataclasses.replace(order, argv=[f"-{Path(self.job.shell).name}"])
        return self._run(order, limit, term_first=True, deletable=True)

    def start_task(self, starter: str | None, argv: Sequence[str], number: int, limit: float) -> Ended:
        """Run a task beside the job's first shell, as a MOM does for ``tm_spawn``.

        :param number: which slot of the job it is for, counted over all nodes.
        :param limit: seconds, as for :meth:`start_job`.
        """
        order = dataclasses.replace(
            self._order("task", starter or argv[0], self.job, stdin=""),
            argv=[*([starter] if starter else []), *argv],
            env=slots.task_environment(self.job, number),
        )
        return self._run(order, limit, term_first=True, deletable=True)

    def _order(self, slot: str, program: str, job: JobFacts, stdin: str) -> Order:
        facts, given = slots.record()["slots"][slot], slots.files(slot, job)
        files = {
            "null": os.devnull,
            "closed": None,
            TERMINAL: TERMINAL,
            "spool.OU": f"{job.home_dir}/spool/{job.file_name}.OU",
            "spool.ER": f"{job.home_dir}/spool/{job.file_name}.ER",
        }
        return Order(
            program=program,
            argv=[program, *slots.arguments(slot, job, self.nodenum)],
            env=slots.environment(slot, job, self.nodenum),
            cwd=job.user_home if facts["cwd"] == "home" else f"{job.home_dir}/mom_priv",
            umask=int(facts["umask"], 8),
            user=job.user if facts["user"] != "root" else "root",
            stdin=TERMINAL if given["stdin"] == TERMINAL else stdin,
            stdout=files[given["stdout"]],
            stderr=files[given["stderr"]],
            spool_owner=job.user,
        )

    def _run(self, order: Order, limit: float, *, term_first: bool = False, deletable: bool) -> Ended:
        if TERMINAL not in {order.stdin, order.stdout}:
            return self._attend(self._spawn(order), order, limit, term_first, deletable)
        if self.desk is None:
            raise LabError("an interactive job needs a terminal", node=self.node)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(TERMINAL_SECONDS)
            process = self._spawn(dataclasses.replace(order, socket=theirs.fileno()))
            theirs.close()
            _, masters, *_ = socket.recv_fds(ours, 1, 1)
        with (
            self.desk.joined(masters[0], typing=order.stdin == TERMINAL)
            if masters
            else contextlib.nullcontext()
        ):
            return self._attend(process, order, limit, term_first, deletable)

    def _attend(
        self, process: subprocess.Popen[str], order: Order, limit: float, term_first: bool, deletable: bool
    ) -> Ended:
        """Wait for the program's end, at most until its time is over."""
        try:
            if deletable:
                self._expose(process)
            report = _wait(process, limit)
        except subprocess.TimeoutExpired:
            report = self._stop(process, ("SIGTERM", "SIGKILL") if term_first else ("SIGKILL",))
            return Ended(slots.ALARM, _session(report))
        finally:
            self._let_go(process)
        if not report.strip():
            raise LabError(
                f"{order.program} could not be started", node=self.node, hint="see the messages above"
            )
        return Ended(json.loads(report)["code"], _session(report))

    def _spawn(self, order: Order) -> subprocess.Popen[str]:
        argv = [
            *self.cluster.enter(self.node),
            sys.executable,
            "-I",
            "-S",
            str(Path(__file__).with_name("spawn.py")),
        ]
        # A session of its own: Ctrl-C at the terminal is for the driver alone.
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            pass_fds=[order.socket] if order.socket >= 0 else [],
        )  # fmt: skip
        _tell(process, json.dumps(dataclasses.asdict(order)))
        return process

    def _expose(self, process: subprocess.Popen[str]) -> None:
        """Let :meth:`delete` reach it, also one that came a moment too early."""
        with self._gate:
            self._process = process
            if self.deleted:
                _tell(process, "SIGTERM")

    def delete(self) -> None:
        """Do what ``qdel`` does: SIGTERM for the job, now or when it starts; an epilogue is left alone.

        Unlike TORQUE's, a prologue is told as well: it ends early and cleans up.
        """
        with self._gate:
            self.deleted = True
            if self._process is not None:
                _tell(self._process, "SIGTERM")
                if self.job.interactive:  # a shell at a terminal does not heed it
                    later = threading.Timer(STOP_GRACE, _tell, (self._process, "SIGKILL"))
                    later.daemon = True
                    later.start()

    def _stop(self, process: subprocess.Popen[str], signals: Sequence[str]) -> str:
        for name in signals:
            _tell(process, name)
            try:
                return _wait(process, STOP_GRACE)
            except subprocess.TimeoutExpired:
                continue
        return ""

    def _let_go(self, process: subprocess.Popen[str]) -> None:
        """Close the pipes; a program that is still there is killed by it."""
        with self._gate:
            self._process = None
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        try:
            process.wait(STOP_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    """Write one line to ``spawn.py``; one that has ended already needs none."""
    with contextlib.suppress(BrokenPipeError):
        if process.stdin is not None and not process.stdin.closed:
            process.stdin.write(line + "\n")
            process.stdin.flush()


def _wait(process: subprocess.Popen[str], limit: float) -> str:
    """What ``spawn.py`` reports. Its standard input stays open meanwhile: its end would mean SIGKILL."""
    process.wait(timeout=None if limit == float("inf") else limit)
    return process.stdout.read() if process.stdout is not None else ""


def _session(report: str) -> int:
    """The session id in a report of ``spawn.py``; 0 when it wrote none."""
    return int(json.loads(report)["session"]) if report.strip() else 0
