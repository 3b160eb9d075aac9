"""virConnects shared by the hosts that use the same URI; the only place that opens and closes them.

Facts this is built on (libvirt 9, measured on two nodes with a frozen daemon):

* ``virConnectOpen`` has no timeout: it is made in a thread of its own and waited for as long as the
  caller's deadline allows.
* Closing a connection to a frozen daemon, even by dropping the last reference, blocks the calling
  thread until keepalive gives up. So keepalive is set before anybody sees a connection, and closing
  is done in a thread of its own as well.
* Keepalive needs an event loop that was registered before the connection was opened.
* libvirtd serves five requests of one connection at a time; sshd refuses beyond ten simultaneous
  logins. So at most four hosts share a connection while more may be opened, and at most eight
  connections to one endpoint are being opened at any moment.
* The state of ``test:///FILE`` lives in its connection: two of them are two hypervisors. So there
  is one, and it stays until :meth:`Pool.close_all`.
"""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from nornir_torque_vm.deadline import current
from nornir_torque_vm.threads import Call

VirConnect = Any
"""``libvirt.virConnect``; a name of its own because libvirt-python has no types mypy can see."""

HOSTS_PER_CONNECTION = 4
MAX_CONNECTIONS = 5
MAX_OPENING = 8
OPEN_TIMEOUT = 30.0
"""Seconds an open may take when no deadline is nearer."""
CLOSE_WAIT = 0.2
"""Seconds the closing of a connection is waited for; a healthy daemon answers in 1 ms."""
KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 5, 3
"""A silent daemon is given up after (count + 1) intervals: 20 s."""

_ready = threading.Lock()
_library: list[Any] = []


def library() -> Any:
    """Return the ``libvirt`` module, imported, silenced and with its event loop running.

    :raises ImportError: libvirt-python is not installed.
    """
    with _ready:
        if not _library:
            import libvirt

            libvirt.registerErrorHandler(_ignore, None)  # otherwise it prints every error to stderr
            libvirt.virEventRegisterDefaultImpl()
            threading.Thread(target=_run_events, args=(libvirt,), daemon=True, name="libvirt events").start()
            _library.append(libvirt)
        return _library[0]


def _ignore(*_: object) -> None:
    """What libvirt's error handler does: the same errors arrive as exceptions."""


def _run_events(libvirt: Any) -> None:
    with contextlib.suppress(libvirt.libvirtError):  # raised once, for good, when poll() itself fails
        while True:
            libvirt.virEventRunDefaultImpl()


def is_test(uri: str) -> bool:
    """Whether ``uri`` names libvirt's in-process test driver."""
    return uri.startswith("test:///")


def is_own_world(uri: str) -> bool:
    """Whether a connection to ``uri`` *is* the hypervisor, so that closing it would wipe it."""
    return is_test(uri) and urlsplit(uri).path != "/default"


def endpoint(uri: str) -> str:
    """Return who is contacted for ``uri``: ``host:port``, or the driver's name for a local daemon."""
    parts = urlsplit(uri)
    return parts.netloc.rpartition("@")[2] or parts.scheme


def open_seconds() -> float:
    """How long the calling thread may wait for a connection now."""
    return current.get().clamp(OPEN_TIMEOUT)


class Link:
    """One virConnect, perhaps still being opened, and how many hosts use it.

    :param gate: entered while the connection is being opened.
    """

    def __init__(self, uri: str, gate: contextlib.AbstractContextManager[object]) -> None:
        self.uri, self.users = uri, 0
        self._gate = gate
        self._call = Call(self._connect, name=f"libvirt open {endpoint(uri)}", dispose=_close)

    def open(self) -> None:
        """Begin to open; the test driver cannot block and is spared the thread."""
        if is_test(self.uri):
            self._call.run()
        else:
            self._call.start()

    def wait(self, seconds: float) -> VirConnect:
        """Return the virConnect.

        :raises TimeoutError: it was not open after ``seconds``.
        :raises libvirt.libvirtError: it could not be opened.
        """
        return self._call.wait(seconds)

    def close(self) -> None:
        """Close it, now or as soon as it has been opened."""
        self._call.abandon()

    @property
    def usable(self) -> bool:
        """Whether it is being opened, or open and not known to be dead; never blocks."""
        if not self._call.over:
            return True
        try:
            return bool(self._call.wait(0).isAlive())
        except Exception:  # noqa: BLE001 - opening failed, or libvirt has its own way to say it is dead
            return False

    def _connect(self) -> VirConnect:
        libvirt = library()
        with self._gate:
            if self._call.abandoned:  # while it queued behind others
                raise TimeoutError
            conn = libvirt.open(self.uri)
        if not is_test(self.uri):
            with contextlib.suppress(libvirt.libvirtError):  # a driver without a daemon has none
                conn.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
        return conn


def _close(conn: VirConnect) -> None:
    call = Call(conn.close, name="libvirt close").start()
    try:
        call.wait(CLOSE_WAIT)
    except TimeoutError:
        call.abandon()
    except Exception:  # noqa: BLE001 - the connection is gone one way or the other
        return


class Pool:
    """All connections of this process, by URI. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, list[Link]] = {}
        self._gates: defaultdict[str, threading.Semaphore] = defaultdict(
            lambda: threading.Semaphore(MAX_OPENING)
        )

    def acquire(self, uri: str, max_connections: int = MAX_CONNECTIONS) -> Link:
        """Return an open link to ``uri``, shared with other users; give it back by :meth:`release`.

        :param max_connections: how many connections this process may hold to ``uri``.
        :raises TimeoutError: this thread's deadline, or 30 s, passed before it was open.
        :raises libvirt.libvirtError: it could not be opened.
        :raises ImportError: libvirt-python is not installed.
        """
        with self._lock:
            link, is_new = self._choose(uri, max_connections)
            link.users += 1
        try:
            if is_new:
                link.open()
            link.wait(open_seconds())
        except BaseException:
            self.release(link)
            raise
        return link

    def release(self, link: Link) -> None:
        """Give a link back; the last user closes it."""
        with self._lock:
            link.users -= 1
            if link.users > 0 or (is_own_world(link.uri) and link.usable):
                return
            links = self._links.get(link.uri, [])
            if link in links:
                links.remove(link)
            if not links:
                self._links.pop(link.uri, None)
        link.close()

    @contextlib.contextmanager
    def own(self, uri: str) -> Iterator[VirConnect]:
        """Lend a connection nobody else uses; closed at the end. Raises like :meth:`acquire`."""
        if is_own_world(uri):
            link = self.acquire(uri)
            try:
                yield link.wait(0)
            finally:
                self.release(link)
            return
        link = Link(uri, self._gate(uri))
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

    def count(self, uri: str) -> int:
        """How many shared connections to ``uri`` are open or being opened."""
        with self._lock:
            return len(self._links.get(uri, ()))

    def _choose(self, uri: str, max_connections: int) -> tuple[Link, bool]:
        """Return the link a new user of ``uri`` should share, and whether it has yet to be opened."""
        links = self._links.setdefault(uri, [])
        links[:] = [link for link in links if link.usable]
        limit = 1 if is_own_world(uri) else max(1, max_connections)
        least = min(links, key=lambda link: link.users, default=None)
        if least is not None and (least.users < HOSTS_PER_CONNECTION or len(links) >= limit):
            return least, False
        link = Link(uri, self._gate(uri))
        links.append(link)
        return link, True

    def _gate(self, uri: str) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext() if is_test(uri) else self._gates[endpoint(uri)]


pool = Pool()
"""The pool of this process."""
