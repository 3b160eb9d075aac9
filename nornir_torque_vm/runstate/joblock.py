"""One lock per job: of all hooks that run for a job id at one time, one acts.

A kernel lock (``flock``) on ``<run_dir>/locks/<job id>``: it ends with the process that holds it,
however that ends. The file says who holds it and since when, for messages and for whoever has to
take over: pid and start time together name a process even after its pid was used again.

A MOM runs hooks of one job side by side after a restart, a requeue, or a qdel during the prologue. So an
epilogue, and a newer attempt, ends the prologue of an older attempt instead of waiting for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm import deadline as deadline_module
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import StateError
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.runstate.rootdir import RootDir

LOCKS = "locks"
"""Subdirectory of the run directory."""
RECORD_LIMIT = 4096
"""Bytes of a lock file that are looked at."""
GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for a holder that has to leave."""
EVERY_ATTEMPT = 0
"""Attempt of a holder that works for all of them: an epilogue, an administrator."""


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a job's lock."""

    pid: int
    start_time: int
    """Clock ticks from boot to the start of the process; see ``proc(5)``, ``stat``, field 22."""
    attempt: int
    """The attempt it works for, or :data:`EVERY_ATTEMPT`."""

    def alive(self) -> bool:
        """Whether that very process still exists."""
        return start_time(self.pid) == self.start_time

    def yields_to(self, attempt: int) -> bool:
        """Whether it has to leave for a caller that works for ``attempt``: only a prologue ever does."""
        return self.attempt != EVERY_ATTEMPT and (attempt == EVERY_ATTEMPT or attempt > self.attempt)

    def send(self, number: int) -> None:
        """Send a signal to that very process; nothing when it is gone.

        The descriptor pins the process: between looking and sending its pid could be used again.
        """
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(self.pid)
            try:
                if self.alive():
                    signal.pidfd_send_signal(fd, number)
            finally:
                os.close(fd)


class Eviction:
    """Makes holders leave: SIGTERM at once, SIGKILL after :data:`GRACE` seconds."""

    def __init__(self) -> None:
        self._asked: Holder | None = None
        self._until = 0.0

    def press(self, holder: Holder) -> None:
        """Ask ``holder`` to leave, or end it when it was asked long enough ago; may be repeated."""
        if holder != self._asked:
            self._asked, self._until = holder, time.monotonic() + GRACE
            holder.send(signal.SIGTERM)
        elif time.monotonic() >= self._until:
            holder.send(signal.SIGKILL)


def start_time(pid: int) -> int:
    """Clock ticks from boot to the start of a process; 0 when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    # The second field is the command in parentheses; it may itself hold blanks and parentheses.
    return int(text.rpartition(")")[2].split()[19])


@contextlib.contextmanager
def job_lock(
    run_dir: str | Path,
    job_id: str,
    *,
    attempt: int = EVERY_ATTEMPT,
    deadline: Deadline | None = None,
    take_over: bool = False,
) -> Iterator[None]:
    """Hold the job's lock; the file is gone afterwards.

    :param attempt: which attempt the caller works for, for the record.
    :param deadline: until when to wait for another holder; the calling thread's own when None.
    :param take_over: end a holder that works for an older attempt instead of waiting for it.
    :raises StateError: somebody else still holds it then; says who.
    """
    job_slug(job_id)
    limit = deadline or deadline_module.current.get()
    with RootDir.at(run_dir, create=0o711) as run, run.sub(LOCKS, create=0o700) as locks:
        fd = _acquire(locks, job_id, limit, attempt if take_over else None)
        try:
            record = Holder(os.getpid(), start_time(os.getpid()), attempt)
            os.ftruncate(fd, 0)
            os.pwrite(fd, json.dumps(dataclasses.asdict(record)).encode(), 0)
            yield
        finally:
            # While it is still locked: whoever waits for this file sees that it is no longer the
            # one under this name, and starts over with a new one.
            locks.remove(job_id)
            os.close(fd)


def holder(run_dir: str | Path, job_id: str) -> Holder | None:
    """Who holds, or was the last to hold, a job's lock; None when nobody is on record."""
    job_slug(job_id)
    try:
        text = Path(f"{run_dir}/{LOCKS}/{job_id}").read_bytes()
    except OSError:
        return None
    return _parse(text[:RECORD_LIMIT])


def _acquire(locks: RootDir, job_id: str, limit: Deadline, successor: int | None) -> int:
    """Return the descriptor of the locked file.

    :param successor: the attempt for which older holders have to leave; None: nobody has to.
    """
    last: Holder | None = None
    eviction = Eviction()
    for _ in itertools.chain((0,), limit.backoff()):  # once even when the time is up already
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(job_id, flags, 0o600, dir_fd=locks.fd)
        except OSError as error:
            raise StateError(f"cannot lock {locks.path}/{job_id}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(fd, locks, job_id):
                return fd
        except BlockingIOError:
            last = _parse(os.pread(fd, RECORD_LIMIT, 0))
        os.close(fd)
        if last and successor is not None and last.yields_to(successor):
            eviction.press(last)
    who = f"process {last.pid} (attempt {last.attempt})" if last else "another process"
    raise StateError(f"{who} is still at work on it", job=job_id, hint="wait for it to end, then try again")


def _is_current(fd: int, locks: RootDir, job_id: str) -> bool:
    """Whether the locked file is still the one under that name: its last holder may have removed it."""
    try:
        there = os.stat(job_id, dir_fd=locks.fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(fd))


def _parse(text: bytes) -> Holder | None:
    try:
        return Holder(**json.loads(text))
    except (ValueError, TypeError):
        return None
