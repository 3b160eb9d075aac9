"""The user's terminal, and those of the programs that an interactive job runs on its nodes, joined."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import threading
import tty
from collections.abc import Iterator

LAST_WORDS = 0.5
"""Seconds of silence after a program's end until its terminal is left: something may still have it open."""
_SIZE = 8
"""Bytes of a struct winsize."""


class Desk:
    """The user's end of an interactive job.

    :param keyboard, screen: descriptors; the keyboard's size and modes are those of a terminal.
    """

    def __init__(self, keyboard: int, screen: int) -> None:
        self.keyboard, self.screen = keyboard, screen
        self._master = -1
        self._gate = threading.RLock()  # a signal handler may call fit() from within

    def fit(self) -> None:
        """Give the program's terminal the size of the user's; safe in a signal handler."""
        with self._gate:
            if self._master >= 0:
                size = fcntl.ioctl(self.keyboard, termios.TIOCGWINSZ, bytes(_SIZE))
                fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    @contextlib.contextmanager
    def joined(self, master: int, *, typing: bool) -> Iterator[None]:
        """While it lasts, the user sees what a program prints at its terminal.

        :param master: the other end of the program's terminal; closed afterwards.
        :param typing: whether the program gets what is typed, key by key, Ctrl-C too.
        """
        over_read, over_write = os.pipe()
        relay = threading.Thread(target=self._relay, args=(master, over_read, typing), daemon=True)
        with self._gate:
            self._master = master
        self.fit()
        try:
            with self._raw() if typing else contextlib.nullcontext():
                relay.start()
                try:
                    yield
                finally:
                    os.close(over_write)
                    relay.join()
        finally:
            with self._gate:
                self._master = -1
            os.close(over_read)
            os.close(master)

    @contextlib.contextmanager
    def _raw(self) -> Iterator[None]:
        before = termios.tcgetattr(self.keyboard)
        tty.setraw(self.keyboard, termios.TCSADRAIN)  # what was typed before is for the job
        try:
            yield
        finally:
            termios.tcsetattr(self.keyboard, termios.TCSADRAIN, before)

    def _relay(self, master: int, over: int, typing: bool) -> None:
        """Carry bytes both ways until the program's terminal is closed, or it is over."""
        sources = [master, over, *([self.keyboard] if typing else [])]
        while True:
            ready = select.select(sources, [], [], None if over in sources else LAST_WORDS)[0]
            if not ready:
                return
            if over in ready:
                sources = [master]
            if master in ready and not _carry(master, self.screen):
                return
            if self.keyboard in ready and self.keyboard in sources and not _carry(self.keyboard, master):
                sources.remove(self.keyboard)


def _carry(source: int, target: int) -> bool:
    """Pass on what is there; False at the end of it, or when nobody takes it."""
    try:
        data = os.read(source, 65536)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(target, rest) :]
    except OSError:  # EIO: nobody has the program's terminal open any more
        return False
    return bool(data)
