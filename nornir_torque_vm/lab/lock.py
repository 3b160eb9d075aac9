"""One change of a lab at a time: a lock that leaves no file and dies with its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError


@contextlib.contextmanager
def held(path: Path, deadline: Deadline) -> Iterator[None]:
    """Hold the lock file ``path``; it is removed in the end.

    A process that was started and has not yet become another program shares the lock: whoever gets it
    later sees that program's own command line.

    :raises LabError: somebody else holds it until the deadline; names the process.
    """
    fd = _acquire(path, deadline)
    try:
        os.truncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(fd)


def _acquire(path: Path, deadline: Deadline) -> int:
    for _ in deadline.backoff():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # a `down` has just removed the directory
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, fd):
                return fd
        except BlockingIOError:
            pass
        os.close(fd)
    raise LabError(
        f"another up or down of the lab {path.stem} is at work (process {_holder(path)})",
        hint="wait for it to end",
    )


def _is_still(path: Path, fd: int) -> bool:
    """The last holder may have removed the file between our open and our lock."""
    try:
        return os.path.samestat(path.stat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"
