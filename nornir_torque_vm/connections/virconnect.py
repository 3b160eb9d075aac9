"""How virConnects are opened, kept alive, shared and closed; the only place that does it.

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
  is one, and it stays until ``pool.close_all()``.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from nornir_torque_vm.connections.pool import Pool, close_soon

VirConnect = Any
"""``libvirt.virConnect``; a name of its own because libvirt-python has no types mypy can see."""

HOSTS_PER_CONNECTION = 4
MAX_CONNECTIONS = 5
MAX_OPENING = 8
KEEPALIVE_INTERVAL, KEEPALIVE_COUNT = 10, 12
"""A silent daemon is given up after two minutes: twelve questions without an answer, one each 10 s.

Long, because a loaded node may be silent for half a minute and be well; the run's own deadline is what
ends the waiting, and calls its node late."""

_library_lock = threading.Lock()
_library: list[Any] = []
_gates: dict[str, threading.Semaphore] = {}


def library() -> Any:
    """Return the ``libvirt`` module, imported, silenced and with its event loop running.

    :raises ImportError: libvirt-python is not installed.
    """
    with _library_lock:
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
    """Whether ``uri`` names libvirt's in-process test driver, which cannot block."""
    return uri.startswith("test:///")


def is_own_world(uri: str) -> bool:
    """Whether a connection to ``uri`` *is* the hypervisor, so that closing it would wipe it."""
    return is_test(uri) and urlsplit(uri).path != "/default"


def endpoint(uri: str) -> str:
    """Return who is contacted for ``uri``: ``host:port``, or the driver's name for a local daemon."""
    parts = urlsplit(uri)
    return parts.netloc.rpartition("@")[2] or parts.scheme


def connect(uri: str, wanted: Callable[[], bool]) -> VirConnect:
    """Open ``uri`` when its endpoint has room, and keep it alive.

    :raises libvirt.libvirtError: it cannot be opened.
    :raises ImportError: libvirt-python is not installed.
    """
    libvirt = library()
    if is_test(uri):
        return libvirt.open(uri)
    with _gates.setdefault(endpoint(uri), threading.Semaphore(MAX_OPENING)):
        if not wanted():
            raise TimeoutError
        conn = libvirt.open(uri)
    with contextlib.suppress(libvirt.libvirtError):  # a driver without a daemon has no keepalive
        conn.setKeepAlive(KEEPALIVE_INTERVAL, KEEPALIVE_COUNT)
    return conn


def _close(uri: str, conn: VirConnect) -> None:
    if is_test(uri):
        conn.close()
    else:
        close_soon(conn.close, f"libvirt close {endpoint(uri)}")


def _alive(conn: VirConnect) -> bool:
    return bool(conn.isAlive())  # looks at the socket's state only, asks nobody


pool: Pool[str, VirConnect] = Pool(
    connect, _close, _alive,
    users_per_link=HOSTS_PER_CONNECTION, instant=is_test, lasting=is_own_world,
)  # fmt: skip
"""The virConnects of this process, by URI."""
