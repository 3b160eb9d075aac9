"""A child process for a program that has no time to import :mod:`subprocess`; ``posix_spawn`` is built in."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Mapping

PIPE = -1
"""In place of a descriptor: a pipe, whose other end the :class:`Child` has."""
NULL = -2
"""In place of a descriptor: ``/dev/null``."""


class Child:
    """A process that was started; the one who started it waits for it.

    :param argv: a list; the program is found by ``PATH``, ours.
    :param env: its whole environment.
    :param blocked: signals that do not reach it; all others do.
    :param stdin, stdout, stderr: a descriptor, :data:`NULL`, or but for stderr :data:`PIPE`; None: ours.
    :raises OSError: it cannot be started.
    """

    def __init__(
        self, argv: list[str], env: Mapping[str, str], blocked: Iterable[int], *,
        stdin: int | None = None, stdout: int | None = None, stderr: int | None = None,
    ) -> None:  # fmt: skip
        self._status: int | None = None
        given = [stdin, stdout, stderr]
        pipes = []
        for number in (0, 1):
            if given[number] == PIPE:
                ends = os.pipe()
                given[number] = ends[number]
                pipes.append(ends[number])
                if number == 0:
                    self._input = ends[1]
                else:
                    self._output = ends[0]
        actions = [_action(source, number) for number, source in enumerate(given) if source is not None]
        ignored = (signal.SIGPIPE, signal.SIGXFSZ)  # by Python
        try:
            self.pid = os.posix_spawnp(
                argv[0], argv, env, file_actions=actions, setsigmask=blocked, setsigdef=ignored
            )
        finally:
            for fd in pipes:
                os.close(fd)

    def write(self, data: bytes) -> None:
        """Write the whole of its input; a process that has ended already will say why."""
        with contextlib.suppress(BrokenPipeError), os.fdopen(self._input, "wb") as pipe:
            pipe.write(data)

    def read_line(self) -> bytes:
        """The next line of its output; nothing at the end."""
        line = b""
        while not line.endswith(b"\n") and (byte := os.read(self._output, 1)):
            line += byte
        return line

    def poll(self) -> int | None:
        """Its exit status, ``-n`` if signal ``n`` ended it; None while it runs."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def kill(self) -> None:
        """End it, and wait for that."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _action(source: int, number: int) -> tuple[int, int, int] | tuple[int, int, str, int, int]:
    """What ``posix_spawn`` is to do for a descriptor."""
    if source == NULL:
        return os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0
    return os.POSIX_SPAWN_DUP2, source, number
