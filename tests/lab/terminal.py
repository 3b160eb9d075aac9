"""A terminal for programs that want one."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Mapping, Sequence
from typing import Self

PATIENCE = 30.0
"""Seconds in which something is to be printed, unless told otherwise."""


class Terminal:
    """A program at a terminal of its own, e.g. ``qsub -I``; it and its environment are given.

    A context manager; what has been printed so far is in ``text``, with the terminal's line ends.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str]) -> None:
        self.text = ""
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            try:
                os.execve(words[0], [*words], {**env, "TERM": "xterm"})  # noqa: S606 -- no shell
            finally:
                os._exit(127)

    def send(self, text: str) -> None:
        """Type."""
        os.write(self._fd, text.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Give the terminal another size; its program is told by SIGWINCH."""
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def expect(self, text: str, seconds: float = PATIENCE) -> str:
        """Wait until ``text`` is printed; return all that was printed up to now.

        :raises TimeoutError: it was not, or the program ended before.
        """
        until = time.monotonic() + seconds
        while text not in self.text:
            if not self._read(until):
                raise TimeoutError(f"no {text!r} within {seconds} s, only {self.text!r}")
        return self.text

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for the program's end and return its exit code.

        :raises TimeoutError: it goes on.
        """
        until = time.monotonic() + seconds
        while self._read(until):
            pass
        while time.monotonic() < until:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        raise TimeoutError(f"still running after {seconds} s: {self.text!r}")

    def _read(self, until: float) -> bool:
        """Collect what is printed next; False at the end of all output, or when the time is up."""
        if not select.select([self._fd], [], [], max(0.0, until - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # EIO: nobody has the terminal open any more
            data = b""
        self.text += data.decode(errors="replace")
        return bool(data)

    def __enter__(self) -> Self:
        """Return the terminal."""
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up, and end the program if that does not."""
        os.close(self._fd)
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
