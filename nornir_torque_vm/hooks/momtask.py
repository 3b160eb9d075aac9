"""What a MOM wants started, told from the arguments, input and environment of its starter (TF 3.1).

A batch job's shell gets its script on a pipe that holds one line, the script's path and arguments. A TORQUE
that was configured otherwise gives the script itself as standard input, or its path as argument.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nornir_torque_vm.errors import StateError

SCRIPT_SUFFIX = ".SC"
"""Of the copy of the job's script that a MOM keeps."""


class MomTask(NamedTuple):
    """One task of a job: its first shell, or what was started beside it (``pbsdsh``, an MPI launcher)."""

    argv: Sequence[str]
    login: bool = False
    """Whether ``argv`` is a login shell."""
    stdin: bytes | None = None
    """What the task reads, if the MOM gave it in whole."""
    script: tuple[str, bytes] | None = None
    """Path and text of the job's script, which the guest needs at the same path."""
    terminal: bool = False
    connected: bool = False
    """Whether the task's input comes from somewhere while it runs: from a terminal, or over the network."""
    slot: int | None = None
    """The slot of the job it belongs to; None for the first shell."""


def mom_task(argv: Sequence[str], environ: Mapping[str, str], login: str) -> MomTask:
    """Tell what is to be started; a script or its line is read from descriptor 0.

    :param argv: the task's, without the starter.
    :param login: ``1`` or ``0`` for batch and then for interactive jobs: whether they get login shells.
    :raises StateError: there is no script, or no telling which guest the task is for.
    :raises OSError: the script cannot be read.
    """
    mode = os.fstat(0).st_mode
    if argv[0] == environ.get("SHELL"):
        if environ.get("PBS_ENVIRONMENT") == "PBS_INTERACTIVE" and os.isatty(0):
            return MomTask(argv, login[1:] == "1", terminal=True, connected=True)
        batch = MomTask(argv, login[:1] == "1")
        if stat.S_ISFIFO(mode):
            line = read_line()
            return batch._replace(stdin=line, script=_script(_path_in(line)))
        if stat.S_ISREG(mode):
            return batch._replace(stdin=_content(0))
        if len(argv) > 1 and argv[1].endswith(SCRIPT_SUFFIX):
            return batch._replace(script=_script(argv[1]))
    number = environ.get("PBS_VNODENUM", "")
    if not number.isdigit():
        raise StateError(f"PBS_VNODENUM is {number!r}, so nobody knows which guest the task belongs to")
    return MomTask(argv, connected=not _is_null(), slot=int(number))


def read_line() -> bytes:
    """The line the MOM wrote. Read bytewise: the rest is not ours."""
    line = bytearray()
    while byte := os.read(0, 1):
        line += byte
        if byte == b"\n":
            break
    return bytes(line)


def _path_in(line: bytes) -> str:
    """The script's path, the first word; with ``$exec_with_exec`` in the MOM's config the second."""
    words = os.fsdecode(line).split(maxsplit=2)
    if words[:1] == ["exec"]:
        words = words[1:]
    if not words:
        raise StateError("the MOM handed over no script", hint="submit the job again")
    return words[0]


def _script(path: str) -> tuple[str, bytes]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return path, _content(fd)
    finally:
        os.close(fd)


def _content(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 1 << 20):
        parts.append(part)
    return b"".join(parts)


def _is_null() -> bool:
    """Whether there is nothing to read: where a MOM has no connection for a task it gives ``/dev/null``."""
    return os.fstat(0).st_rdev == os.stat(os.devnull).st_rdev  # noqa: PTH116 - pathlib is slow
