"""Blocking calls that nothing can interrupt, run in daemon threads that may be left behind.

``libvirt.open`` and ``virConnectClose`` have no timeout and Python cannot kill a thread, so the only
way to bound them is to stop waiting. Whoever stops waiting says so with :func:`abandon`; a process
for which :func:`stragglers` names any thread has to end with ``os._exit``, because an ordinary exit
would tear the interpreter down under a C call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from nornir_torque_vm.deadline import Deadline

T = TypeVar("T")

_abandoned: list[threading.Thread] = []
_lock = threading.Lock()


def abandon(thread: threading.Thread) -> None:
    """Note that nobody waits for ``thread`` any more."""
    with _lock:
        _abandoned[:] = [known for known in _abandoned if known.is_alive()]
        _abandoned.append(thread)


def stragglers() -> tuple[str, ...]:
    """Names of the abandoned threads that still run, oldest first; empty when all have ended."""
    with _lock:
        _abandoned[:] = [known for known in _abandoned if known.is_alive()]
        return tuple(thread.name for thread in _abandoned)


def await_stragglers(deadline: Deadline) -> bool:
    """Wait until the abandoned threads have ended; False when some still run at ``deadline``.

    Whoever cleans up does this first: a call that was under way when its thread was given up may still
    make something.
    """
    return any(not stragglers() for _ in deadline.backoff(longest=0.2))


class Call(Generic[T]):
    """One call whose outcome any number of threads may wait for, each as long as it likes.

    :param function: called once, by :meth:`start` in a daemon thread or by :meth:`run` in this one.
    :param name: of the thread.
    :param dispose: gets the value when it arrives after :meth:`abandon`; None when it needs no care.
    """

    def __init__(
        self, function: Callable[[], T], *, name: str, dispose: Callable[[T], None] | None = None
    ) -> None:
        self._function, self._dispose = function, dispose
        self._thread = threading.Thread(target=self.run, daemon=True, name=name)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.abandoned = False
        self._value: list[T] = []
        self._error: BaseException | None = None

    def start(self) -> Call[T]:
        """Make the call in a thread of its own."""
        self._thread.start()
        return self

    def run(self) -> None:
        """Make the call here; its exception is kept for the waiters, never raised."""
        try:
            value = self._function()
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the waiters
            self._error = error
            self._over.set()
            return
        with self._lock:
            unwanted = self.abandoned
            if not unwanted:
                self._value.append(value)
        self._over.set()
        if unwanted and self._dispose is not None:
            self._dispose(value)

    @property
    def over(self) -> bool:
        """Whether the call has returned or raised."""
        return self._over.is_set()

    def wait(self, seconds: float) -> T:
        """Return the call's value or raise its exception; ``TimeoutError`` after ``seconds``.

        Not to be called after :meth:`abandon`.
        """
        if not self._over.wait(min(seconds, threading.TIMEOUT_MAX)):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value[0]

    def abandon(self) -> None:
        """Say that nobody will wait any more; what is there or still comes is disposed of."""
        with self._lock:
            self.abandoned = True
            values, self._value = self._value, []
        if not self._over.is_set():
            abandon(self._thread)
        if self._dispose is not None:
            for value in values:
                self._dispose(value)
