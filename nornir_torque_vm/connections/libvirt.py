"""Nornir connection plugin ``libvirt``: a virConnect per node, shared by its guests.

In an inventory::

    connection_options:
      libvirt:
        extras: {uri: "qemu+ssh://root@node1/system"}

``extras``: ``uri`` (required; ``{node}`` in it stands for the node, so one group can say it for all),
``node`` (name for messages), ``max_connections`` (to this URI from this process, default 5). In a task,
``task.host.get_connection("libvirt", task.nornir.config)`` is a
``libvirt.virConnect``. The module imports libvirt when the first connection is opened.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from nornir.core.configuration import Config

from nornir_torque_vm.connections.pool import Link
from nornir_torque_vm.connections.virconnect import MAX_CONNECTIONS, VirConnect, pool
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import (
    DeadlineExceeded,
    HypervisorError,
    HypervisorUnreachable,
    InventoryError,
    TorqueVMError,
)

CONNECTION_NAME = "libvirt"

NO_DOMAIN = 42
"""``VIR_ERR_NO_DOMAIN``: the domain does not exist, or no longer."""
OPERATION_INVALID = 55
"""``VIR_ERR_OPERATION_INVALID``: not in the state the domain or pool is in."""

_CONNECTION_DOMAINS = frozenset({7, 13, 50, 66})
"""``VIR_FROM_RPC``, ``REMOTE``, ``SSH``, ``LIBSSH``: the error arose between us and the daemon."""
_CONNECTION_CODES = frozenset({5, 6, 39, 40, 45, 79, 85, 94, 98})
"""``VIR_ERR_NO_CONNECT``, ``INVALID_CONN``, ``RPC``, ``GNUTLS_ERROR``, ``AUTH_FAILED``,
``AUTH_CANCELLED``, ``SSH``, ``AUTH_UNAVAILABLE``, ``LIBSSH``."""
_AUTH_CODES = frozenset({45, 79, 94})

_HINT = "check that libvirtd runs there and that this host may connect to it"
_AUTH_HINT = "check that libvirtd runs there and the key or certificate this host uses for it"
"""Both, because a daemon that ends in the middle of a TLS handshake gives ``AUTH_FAILED`` as well."""


def map_error(error: Exception, node: str = "", guest: str = "") -> HypervisorError:
    """Return our error for a ``libvirt.libvirtError``, judged by its code and domain, never its text.

    Code 38 alone does not mean *unreachable*: a missing bridge and a full disk have it as well, so
    the domain decides whether it arose on the way to the daemon or in it.
    """
    code, domain, message = _details(error)
    if code in _CONNECTION_CODES or domain in _CONNECTION_DOMAINS:
        hint = _AUTH_HINT if code in _AUTH_CODES else _HINT
        return HypervisorUnreachable(message, code=code, hint=hint, node=node, guest=guest)
    return HypervisorError(message, code=code, node=node, guest=guest)


def _details(error: Exception) -> tuple[int, int, str]:
    """Return code, domain and text of a libvirtError; 0, 0 and the text of any other exception."""
    try:
        code, domain, text = error.get_error_code(), error.get_error_domain(), error.get_error_message()  # type: ignore[attr-defined]
    except AttributeError:
        code, domain, text = 0, 0, ""
    return code or 0, domain or 0, " ".join((text or str(error)).split()).rstrip(".")


@contextlib.contextmanager
def mapped(node: str = "", guest: str = "") -> Iterator[None]:
    """Turn a ``libvirtError`` of the ``with`` block into ours; other exceptions pass."""
    from libvirt import libvirtError

    try:
        yield
    except libvirtError as error:
        raise map_error(error, node, guest) from error


@contextlib.contextmanager
def lease(uri: str, node: str = "") -> Iterator[VirConnect]:
    """Lend a virConnect of the caller's own, for long or many calls beside the shared ones.

    ``test:///FILE`` has only one connection, so there it is the shared one.

    :raises HypervisorUnreachable: it could not be opened.
    :raises DeadlineExceeded: the deadline passed while it was being opened.
    """
    with contextlib.ExitStack() as stack:
        with _opening(uri, node):
            conn = stack.enter_context(pool.own(uri))
        yield conn


@contextlib.contextmanager
def _opening(uri: str, node: str) -> Iterator[None]:
    try:
        yield
    except TorqueVMError:
        raise
    except Exception as error:
        raise _cannot_open(error, uri, node) from error


def _cannot_open(error: Exception, uri: str, node: str) -> TorqueVMError:
    """Return why there is no connection to ``uri``."""
    where = uri.partition("?")[0]  # what follows names key files: noise
    if isinstance(error, ImportError):
        hint = "pip install 'nornir-torque-vm[node]' or install python3-libvirt"
        return HypervisorError("libvirt-python is not installed", hint=hint, node=node)
    if isinstance(error, TimeoutError):
        if current.get().remaining() <= 0.0:
            return DeadlineExceeded(f"late in opening {where}", node=node)
        return HypervisorUnreachable(f"{where} did not answer", hint=_HINT, node=node)
    code, _, message = _details(error)
    hint = _AUTH_HINT if code in _AUTH_CODES else _HINT
    return HypervisorUnreachable(f"cannot open {where}: {message}", code=code, hint=hint, node=node)


class LibvirtConnection:
    """See the module; ``open`` and ``close`` are called by Nornir."""

    def __init__(self) -> None:
        self._link: Link[str, VirConnect] | None = None
        self._uri, self._node, self._max = "", "", MAX_CONNECTIONS
        self._lock = threading.Lock()

    def open(
        self,
        hostname: str | None,
        username: str | None,  # noqa: ARG002 - Nornir's signature; the URI says it all
        password: str | None,  # noqa: ARG002
        port: int | None,  # noqa: ARG002
        platform: str | None,  # noqa: ARG002
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,  # noqa: ARG002
    ) -> None:
        """Take a share of a connection to ``extras["uri"]``, opening one when needed.

        :raises InventoryError: there is no URI.
        :raises HypervisorUnreachable: it could not be opened.
        :raises DeadlineExceeded: the deadline passed while it was being opened.
        """
        options = extras or {}
        self._node = str(options.get("node") or hostname or "")
        self._uri = str(options.get("uri") or "").replace("{node}", self._node)
        self._max = int(options.get("max_connections", MAX_CONNECTIONS))
        if not self._uri:
            hint = "add extras: {uri: ...} to its connection_options"
            raise InventoryError("the libvirt connection has no uri", hint=hint, node=self._node)
        with _opening(self._uri, self._node):
            self._link = pool.acquire(self._uri, self._max)

    @property
    def connection(self) -> VirConnect:
        """The virConnect; opened anew when the daemon went away and came back.

        :raises HypervisorUnreachable, DeadlineExceeded: like :meth:`open`.
        """
        with self._lock:
            if self._link is None:
                raise HypervisorError("the libvirt connection is not open", node=self._node)
            if not self._link.usable:
                with _opening(self._uri, self._node):
                    fresh = pool.acquire(self._uri, self._max)
                pool.release(self._link)
                self._link = fresh
            return self._link.wait(0)

    def close(self) -> None:
        """Give the share back; returns within 0.2 s even when the daemon is frozen."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            pool.release(link)
