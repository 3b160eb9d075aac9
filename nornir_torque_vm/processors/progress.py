"""Progress for people: a live display on a terminal, plain lines anywhere else."""

from __future__ import annotations

import os
import sys
from typing import TextIO

from nornir_torque_vm.processors.base import Event, EventProcessor, Kind
from nornir_torque_vm.processors.tally import Tally


def progress(stream: TextIO | None = None) -> EventProcessor:
    """Return the processor that suits ``stream``, standard error when None.

    rich is imported for a terminal only. ``NO_COLOR`` (any value) is honored, by rich itself; a dumb
    terminal, or a system without rich, gets plain lines.
    """
    stream = sys.stderr if stream is None else stream
    if stream.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}:
        try:
            from nornir_torque_vm.processors.live import RichProgress
        except ImportError:
            return PlainProgress(stream)
        return RichProgress(stream)
    return PlainProgress(stream)


class PlainProgress(EventProcessor):
    """One line per host verdict and one per run."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = sys.stderr if stream is None else stream
        self._tally = Tally()

    def handle(self, event: Event) -> None:
        """Print what ended."""
        self._tally.note(event)
        if event.kind is Kind.HOST_END:
            self._print(self._tally.verdict(event))
        elif event.kind is Kind.RUN_END:
            self._print(self._tally.summary(event))

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
