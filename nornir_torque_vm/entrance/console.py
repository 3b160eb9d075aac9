"""What a guest prints on its console, on the node it runs on: a file of the job owner's and root's."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.consoletext import lines_of
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import StateError
from nornir_torque_vm.identity import domain_of_tag
from nornir_torque_vm.runstate.handover import HandOver
from nornir_torque_vm.tasks.volumes import console_name

CHUNK = 64 << 10
"""Bytes that are read of the end, and at a time."""
POLL_MAX = 1.0
"""Seconds between two looks at a console that is silent."""
A_LONG_TIME = 10 * 365 * 86_400.0


def open_console(settings: Settings, handover: HandOver, rank: int) -> int:
    """Open the console of a guest that runs on this node; return the descriptor.

    :raises StateError: it is not there, or not the caller's.
    """
    domain = domain_of_tag(handover.tag, rank)
    path = f"{settings.volume_dir}/{domain}/{console_name(domain)}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        hint = "the guest may be gone" if isinstance(error, FileNotFoundError) else ""
        raise StateError(f"{path} cannot be read: {error.strerror}", job=handover.job_id, hint=hint) from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise StateError(f"{path} is not a regular file", job=handover.job_id)
    return fd


def last_lines(fd: int, count: int) -> list[str]:
    """The last lines a terminal can be shown; leaves the descriptor at the end."""
    end = os.lseek(fd, 0, os.SEEK_END)
    os.lseek(fd, max(0, end - CHUNK), os.SEEK_SET)
    found = lines_of(os.read(fd, CHUNK))
    return found[-count:] if count else []


def following(fd: int, there: Callable[[], bool]) -> Iterator[str]:
    """Yield lines as they come, until the guest is no more.

    :param there: whether it still is.
    """
    rest = b""
    for _ in Deadline.after(A_LONG_TIME).backoff(POLL_MAX):
        gone = not there()
        while chunk := os.read(fd, CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            rest = rest[-CHUNK:]  # a guest may never end its line
            yield from lines_of(b"\n".join(whole))
        if gone:
            yield from lines_of(rest)
            return
