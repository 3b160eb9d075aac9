"""Events as JSON lines, schema version 1: an interface, held by a golden test.

Each line is one object with all of these keys, null where one does not apply:

========  ==========================================================================================
v         1
t         seconds since the epoch, three decimals
run       8 hex digits, the same for all lines of one ``Nornir.run``
job       job id, as given
event     run_start, host_start, step_start, step_end, host_end, run_end
task      name of the task or, for a step, of the subtask
phase     its phase word
host      name of the host
status    ok, changed, failed, late, not_started, cancelled
started   when what ended had begun, seconds since the epoch; null when it never had
seconds   how long it took
changed   whether it changed anything
error     type, code (libvirt's number or 0) and message (one line)
========  ==========================================================================================

What a task returned is never in there: it may be long, or secret.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.processors.base import Event, EventProcessor

VERSION = 1
MODE = 0o640
"""Of a file that has to be created."""


class JsonLinesEvents(EventProcessor):
    """Append one line per event to a file or an open descriptor.

    :param target: a path, opened here and closed by :meth:`close`; or a descriptor, left open.
    :param job: job id for the lines.
    :raises StateError: the file cannot be opened.

    Each line is one ``write`` on a descriptor opened for appending, so neither threads nor other
    processes can tear it. Lines that cannot be written are counted in ``dropped``.
    """

    def __init__(self, target: int | str | Path, job: str = "") -> None:
        super().__init__()
        self.job, self.dropped = job, 0
        self._own = not isinstance(target, int)
        self._torn = False
        if isinstance(target, int):
            self._fd = target
            return
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NOCTTY
        try:
            self._fd = os.open(target, flags, MODE)
        except OSError as error:
            raise StateError(f"cannot write events to {target}: {error.strerror}") from error

    def handle(self, event: Event) -> None:
        """Write the event's line."""
        if self._fd < 0:
            self.dropped += 1
            return
        line = json.dumps(as_dict(event, self.job), separators=(",", ":")).encode() + b"\n"
        data = b"\n" + line if self._torn else line  # keeps what follows a half-written line readable
        try:
            written = os.write(self._fd, data)
        except OSError:
            self.dropped += 1
            return
        self._torn = written < len(data)
        self.dropped += self._torn

    def close(self) -> None:
        """Close the file, if it was opened here."""
        super().close()
        if self._own and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def as_dict(event: Event, job: str = "") -> dict[str, Any]:
    """Return the event in the schema's form."""
    error = event.failure
    return {
        "v": VERSION,
        "t": round(event.t, 3),
        "run": event.run,
        "job": job or None,
        "event": event.kind,
        "task": event.task,
        "phase": event.phase,
        "host": event.host or None,
        "status": event.status,
        "started": _rounded(event.started),
        "seconds": _rounded(event.seconds),
        "changed": event.changed,
        "error": {"type": error.kind, "code": error.code, "message": error.message} if error else None,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
