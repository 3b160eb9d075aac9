"""One absolute monotonic instant by which everything has to be over, and waiting that respects it.

The runner hands every worker thread its :class:`Deadline` through :data:`current`; whoever may
block asks it for the seconds that remain, and whoever is about to change something outside calls
:meth:`Deadline.check` first, so an abandoned thread cannot act after the run has been judged.
"""

from __future__ import annotations

import contextvars
import time
from collections.abc import Iterator

from nornir_torque_vm.errors import DeadlineExceeded

BACKOFF_FIRST = 0.05
"""First pause of :meth:`Deadline.backoff`, seconds."""
BACKOFF_MAX = 1.0
"""Longest pause of :meth:`Deadline.backoff`, seconds."""
BACKOFF_FACTOR = 1.5
NOTICE = 0.2
"""Longest time until a waiting thread notices that its deadline was cancelled, seconds."""


class Deadline:
    """An instant on ``time.monotonic()``'s scale; can be cancelled from another thread.

    :param at: seconds on the monotonic clock; ``float("inf")`` for none.
    """

    def __init__(self, at: float) -> None:
        self.at = at
        # No threading.Event: setting one takes a lock, which the thread that a signal interrupts may hold.
        self._cancelled = False

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline ``seconds`` from now."""
        return cls(time.monotonic() + seconds)

    def cancel(self) -> None:
        """Make it due at once; safe in a signal handler."""
        self._cancelled = True

    def remaining(self) -> float:
        """Seconds left, never negative; 0.0 once cancelled."""
        return 0.0 if self._cancelled else max(0.0, self.at - time.monotonic())

    def clamp(self, seconds: float) -> float:
        """The shorter of ``seconds`` and what remains."""
        return min(seconds, self.remaining())

    def check(self) -> None:
        """Raise :class:`DeadlineExceeded` when it is due: call before every side effect."""
        if self.remaining() <= 0.0:
            raise DeadlineExceeded("the time is up")

    def sleep(self, seconds: float) -> None:
        """Wait ``seconds`` or until due, whichever is first; raise when due."""
        self._pause(seconds)
        self.check()

    def backoff(self, longest: float = BACKOFF_MAX, first: float = BACKOFF_FIRST) -> Iterator[int]:
        """Yield 0, 1, 2 … with pauses growing from ``first`` to ``longest`` seconds between; end when due.

        Unlike :meth:`sleep` it does not raise, so that the caller can say what it waited for.
        """
        pause, attempt = first, 0
        while self.remaining() > 0.0:
            yield attempt
            attempt += 1
            self._pause(pause)
            pause = min(pause * BACKOFF_FACTOR, longest)

    def _pause(self, seconds: float) -> None:
        """Wait ``seconds`` or until due; a cancellation is noticed within :data:`NOTICE` seconds."""
        until = time.monotonic() + seconds
        while (left := self.clamp(until - time.monotonic())) > 0.0:
            time.sleep(min(left, NOTICE))


NEVER = Deadline(float("inf"))
"""No deadline at all: what code outside any runner sees."""

current: contextvars.ContextVar[Deadline] = contextvars.ContextVar("deadline", default=NEVER)
"""The deadline of the calling thread."""
