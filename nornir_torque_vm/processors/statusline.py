"""Progress in one line that is written over, for a terminal of which nothing else is known.

A hook's terminal is that of an interactive job's owner. TORQUE tells hooks no ``TERM``, so there is nothing
but carriage returns; and the owner can stop it, which must not stop a hook: what it does not take at once
is not written.
"""

from __future__ import annotations

import collections
import contextlib
import io
import os
import threading
import time
from typing import Protocol

from nornir_torque_vm.phases import PHASES, phase_of
from nornir_torque_vm.processors.base import Event, EventProcessor, Kind

WIDTH = 78
"""Columns of the line; no terminal is narrower by default."""
PAUSE = 0.2
"""Seconds between two states of the line at least; the last one of a run is always shown."""
_GUESTS = "boot_guest"
_ORDER = ("ok", *reversed(list(PHASES.values())))
"""How far hosts are, farthest first."""


class Writer(Protocol):
    """What the line is written to."""

    def write(self, text: str, /) -> object:
        """Write."""


class Terminal(io.TextIOBase):
    """Writes to the terminal behind a descriptor without ever waiting for it.

    :param fd: stays open and as it is; the terminal is opened anew.
    """

    def __init__(self, fd: int) -> None:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        self._fd = os.open(f"/proc/self/fd/{fd}", flags)

    def write(self, text: str, /) -> int:
        """Write what the terminal takes now; the rest is lost."""
        with contextlib.suppress(OSError):
            os.write(self._fd, text.encode(errors="replace"))
        return len(text)

    def close(self) -> None:
        """Close it."""
        if not self.closed:
            os.close(self._fd)
        super().close()


class StatusLine(EventProcessor):
    """How many hosts of a run are how far: ``torque-vm: guests: 2 ok, 3 address, 1 start``."""

    def __init__(self, stream: Writer) -> None:
        super().__init__()
        self._stream, self._lock = stream, threading.Lock()
        self._where: dict[str, str] = {}
        self._run_name, self._shown = "", 0.0

    def handle(self, event: Event) -> None:
        """Keep the line up to date; the last one of a run stays."""
        with self._lock:
            if event.kind is Kind.RUN_START:
                self._where.clear()
                self._run_name = "guests" if event.task == _GUESTS else phase_of(event.task)
            elif event.kind is Kind.HOST_END:
                good = event.status is not None and event.status.good
                self._where[event.host] = "ok" if good else str(event.status).replace("_", " ")
            elif event.kind in {Kind.HOST_START, Kind.STEP_START}:
                self._where[event.host] = "begun" if event.kind is Kind.HOST_START else event.phase
            self._show(event)

    def _show(self, event: Event) -> None:
        last, now = event.kind is Kind.RUN_END, time.monotonic()
        if last or now - self._shown >= PAUSE:
            self._shown = now
            took = f" after {event.seconds:.1f} s" if last and event.seconds is not None else ""
            text = f"torque-vm: {self._run_name}: {self._counts()}{took}"
            self._stream.write(f"\r{text[:WIDTH]:<{WIDTH}}" + ("\n" if last else ""))

    def _counts(self) -> str:
        counts = collections.Counter(self._where.values())
        words = [word for word in _ORDER if counts[word]]
        words += [word for word in counts if word not in _ORDER]
        return ", ".join(f"{counts[word]} {word}" for word in words) or "no host"


def for_owner(fd: int = 2) -> list[EventProcessor]:
    """What shows the owner of an interactive job how far its guests are; nothing when it is a batch job.

    :param fd: where errors go; a batch job's is a file.
    """
    if not os.isatty(fd):
        return []
    try:
        return [StatusLine(Terminal(fd))]
    except OSError:
        return []
