"""Connections shared by several hosts: opened and closed in threads nobody has to wait for.

A pool knows nothing of what it holds; :mod:`.virconnect` and :mod:`.node_shell` say how to open and
close theirs. While a connection is being opened it already counts and can already be shared: hosts
that want it wait together, each no longer than its own deadline, and all get the same failure.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

from nornir_torque_vm.deadline import current
from nornir_torque_vm.threads import Call

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

OPEN_TIMEOUT = 30.0
"""Seconds an open may take when no deadline is nearer."""
CLOSE_WAIT = 0.2
"""Seconds a close is waited for; what is healthy closes in a few milliseconds."""


def open_seconds() -> float:
    """How long the calling thread may wait for a connection now."""
    return current.get().clamp(OPEN_TIMEOUT)


def close_soon(close: Callable[[], object], name: str) -> None:
    """Call ``close`` in a thread and wait for it at most :data:`CLOSE_WAIT`; it may fail."""
    call = Call(close, name=name).start()
    try:
        call.wait(CLOSE_WAIT)
    except TimeoutError:
        call.abandon()
    except Exception:  # noqa: BLE001 - the connection is gone one way or the other
        return


class Link(Generic[K, T]):
    """One connection, perhaps still being opened, and how many hosts use it."""

    def __init__(self, pool: Pool[K, T], key: K) -> None:
        self.key, self.users = key, 0
        self._pool = pool
        self._call = Call(self._open, name=f"open {key}", dispose=self._dispose)

    def open(self) -> None:
        """Begin to open it, in a thread unless it is known not to block."""
        if self._pool.instant(self.key):
            self._call.run()
        else:
            self._call.start()

    def wait(self, seconds: float) -> T:
        """Return the connection; ``TimeoutError`` after ``seconds``, or whatever opening it raised."""
        return self._call.wait(seconds)

    def close(self) -> None:
        """Close it, now or as soon as it has been opened."""
        self._call.abandon()

    def wanted(self) -> bool:
        """Whether anybody still waits for it: to be asked after queueing, before connecting."""
        return not self._call.abandoned

    @property
    def usable(self) -> bool:
        """Whether it is being opened, or open and not known to be dead."""
        if not self._call.over:
            return True
        try:
            return self._pool.alive(self._call.wait(0))
        except Exception:  # noqa: BLE001 - it never opened, was closed, or cannot even tell
            return False

    def _open(self) -> T:
        return self._pool.connect(self.key, self.wanted)

    def _dispose(self, connection: T) -> None:
        self._pool.close(self.key, connection)


class Pool(Generic[K, T]):
    """Connections of this process by key. Thread-safe.

    :param connect: opens one; asks its second argument for whether it should still.
    :param close: closes one; must return soon (:func:`close_soon`).
    :param alive: whether one can be used; must not block.
    :param users_per_link: how many users share one before another is opened.
    :param instant: whether opening this key cannot block, so that no thread is needed for it.
    :param lasting: whether this key has only one connection, which stays when nobody uses it.
    """

    def __init__(
        self,
        connect: Callable[[K, Callable[[], bool]], T],
        close: Callable[[K, T], None],
        alive: Callable[[T], bool],
        *,
        users_per_link: int,
        instant: Callable[[K], bool] = lambda _: False,
        lasting: Callable[[K], bool] = lambda _: False,
    ) -> None:
        self.connect, self.close, self.alive = connect, close, alive
        self.instant, self.lasting = instant, lasting
        self._users_per_link = users_per_link
        self._lock = threading.Lock()
        self._links: dict[K, list[Link[K, T]]] = {}

    def acquire(self, key: K, max_links: int) -> Link[K, T]:
        """Return an open link to ``key``, perhaps shared; give it back by :meth:`release`.

        :param max_links: how many may be open at once; beyond, the least used one is shared further.
        :raises TimeoutError: this thread's deadline, or 30 s, passed before it was open.
        """
        with self._lock:
            link, is_new = self._choose(key, 1 if self.lasting(key) else max(1, max_links))
            link.users += 1
        try:
            if is_new:
                link.open()
            link.wait(open_seconds())
        except BaseException:
            self.release(link)
            raise
        return link

    def release(self, link: Link[K, T]) -> None:
        """Give a link back; the last user closes it."""
        with self._lock:
            link.users -= 1
            if link.users > 0 or (self.lasting(link.key) and link.usable):
                return
            links = self._links.get(link.key, [])
            if link in links:
                links.remove(link)
            if not links:
                self._links.pop(link.key, None)
        link.close()

    @contextlib.contextmanager
    def own(self, key: K) -> Iterator[T]:
        """Lend a connection nobody else uses, closed at the end; of a lasting key, the shared one.

        :raises TimeoutError: like :meth:`acquire`.
        """
        if self.lasting(key):
            link = self.acquire(key, 1)
            try:
                yield link.wait(0)
            finally:
                self.release(link)
            return
        link = Link(self, key)
        link.open()
        try:
            yield link.wait(open_seconds())
        finally:
            link.close()

    def close_all(self) -> None:
        """Close every connection, used or not: the end of a process, or of a test."""
        with self._lock:
            links = [link for links in self._links.values() for link in links]
            self._links.clear()
        for link in links:
            link.close()

    def count(self, key: K) -> int:
        """How many shared connections to ``key`` are open or being opened."""
        with self._lock:
            return len(self._links.get(key, ()))

    def _choose(self, key: K, max_links: int) -> tuple[Link[K, T], bool]:
        """Return the link a new user of ``key`` should share, and whether it has yet to be opened."""
        links = self._links.setdefault(key, [])
        links[:] = [link for link in links if link.usable]
        least = min(links, key=lambda link: link.users, default=None)
        if least is not None and (least.users < self._users_per_link or len(links) >= max_links):
            return least, False
        link = Link(self, key)
        links.append(link)
        return link, True
