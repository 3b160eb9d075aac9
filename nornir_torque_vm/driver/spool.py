"""Show a growing file while it grows: job output and events, from a node's own file system."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

Sink = Callable[[bytes], None]
"""Takes bytes as they appear."""
POLL = 0.1
"""Seconds between two looks at the file."""


class Follower:
    """Hands what is appended to a file to ``sink``, from a thread, until :meth:`finish`.

    :param find: returns the file's path, or None while it does not exist yet. When it names another
        file, that one is read from its beginning.
    :param sink: one that raises ``OSError``, such as a closed pipe, is not called again.
    """

    def __init__(self, find: Callable[[], Path | None], sink: Sink) -> None:
        self._find, self._sink = find, sink
        self._path: Path | None = None
        self._offset = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True, name="follower")

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def finish(self) -> None:
        """Hand over what is still there and stop; call it before the file is removed."""
        self._over.set()
        self._thread.join()
        self._drain()

    def _follow(self) -> None:
        while not self._over.wait(POLL):
            self._drain()

    def _drain(self) -> None:
        self._hand_over(self._path)
        found = self._find()
        if found != self._path:
            self._path, self._offset = found, 0
            self._hand_over(found)

    def _hand_over(self, path: Path | None) -> None:
        if path is None:
            return
        try:
            with path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError:  # not there yet, or already gone with the job
            return
        self._offset += len(data)
        try:
            if data:
                self._sink(data)
        except OSError:
            self._sink = _nowhere


def _nowhere(_data: bytes) -> None:
    """Where output goes that nobody reads any more."""
