"""Nornir connection plugin ``node_shell``: read-only commands on a node, over netmiko.

netmiko logs in and checks the host key; its ``terminal_server`` type leaves the prompt alone, and
commands run on channels of their own, so that there is an exit status. All hosts of one node share
one login. ``username``, ``hostname`` and ``port`` are the connection's; ``extras`` are::

    key_file      private key; without one, the first of the account's usual ones
    known_hosts   file with the nodes' host keys; without one, the account's usual file
    node          name for messages

A host key that is not known is refused, always. netmiko takes 0.2 s of CPU to import, so that
happens when the first connection is opened.
"""

from __future__ import annotations

import dataclasses
import shlex
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nornir.core.configuration import Config

from nornir_torque_vm.connections.channel import quiet, run_on
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.connections.pool import OPEN_TIMEOUT, Link, Pool, close_soon
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import DeadlineExceeded, NodeShellError, TorqueVMError

if TYPE_CHECKING:
    from netmiko import BaseConnection

CONNECTION_NAME = "node_shell"
COMMAND_TIMEOUT = 60.0
"""Seconds a command may take when neither the caller nor a deadline says less."""
SESSIONS = 8
"""Commands at once over one login; sshd allows ten sessions, the login itself is one."""
USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
"""In ``~/.ssh``; netmiko has to be told one."""

_importing = threading.Lock()


@dataclasses.dataclass(frozen=True, slots=True)
class Login:
    """Where to log in, as whom and by which files."""

    host: str
    port: int
    user: str
    key_file: str
    known_hosts: str

    def __str__(self) -> str:
        """``root@node1``, or ``root@node1:2222``."""
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


class Session:
    """A netmiko connection and how many commands it may run at once."""

    def __init__(self, netmiko_connection: BaseConnection) -> None:
        self.netmiko = netmiko_connection
        self.room = threading.Semaphore(SESSIONS)

    @property
    def transport(self) -> Any:
        """The paramiko transport, None once the connection is closed."""
        client = self.netmiko.remote_conn_pre
        return client.get_transport() if client is not None else None


def connect(login: Login, wanted: Callable[[], bool]) -> Session:
    """Log in; called by the pool in a thread of its own.

    :raises netmiko.exceptions.NetmikoBaseException, paramiko.SSHException, OSError: it failed.
    """
    with _importing:  # netmiko's modules import each other in circles: one thread at a time
        from netmiko import ConnectHandler

    quiet()
    if not wanted():
        raise TimeoutError
    return Session(
        ConnectHandler(
            device_type="terminal_server",
            host=login.host,
            port=login.port,
            username=login.user,
            use_keys=True,
            key_file=login.key_file,
            ssh_strict=True,
            system_host_keys=not login.known_hosts,
            alt_host_keys=bool(login.known_hosts),
            alt_key_file=login.known_hosts,
            conn_timeout=OPEN_TIMEOUT,
            auth_timeout=OPEN_TIMEOUT,
            banner_timeout=OPEN_TIMEOUT,
        )
    )


def _close(login: Login, session: Session) -> None:
    close_soon(session.netmiko.disconnect, f"log out {login}")


def _alive(session: Session) -> bool:
    return session.transport is not None and session.transport.is_active()


pool: Pool[Login, Session] = Pool(connect, _close, _alive, users_per_link=1)
"""The logins of this process; at most one per node and account, whoever shares it."""


def _usual_key() -> str:
    """Return the first key of the calling account that exists; empty when it has none."""
    candidates = (Path.home() / ".ssh" / name for name in USUAL_KEYS)
    return next((str(path) for path in candidates if path.is_file()), "")


class NodeShellConnection:
    """See the module; ``open`` and ``close`` are called by Nornir, :meth:`run` by tasks."""

    def __init__(self) -> None:
        self._link: Link[Login, Session] | None = None
        self._login = Login("", 22, "root", "", "")
        self._node = ""
        self._lock = threading.Lock()

    def open(
        self,
        hostname: str | None,
        username: str | None,
        password: str | None,  # noqa: ARG002 - Nornir's signature; keys only
        port: int | None,
        platform: str | None,  # noqa: ARG002
        extras: dict[str, Any] | None = None,
        configuration: Config | None = None,  # noqa: ARG002
    ) -> None:
        """Log in, or share the login another host of the same node has.

        :raises NodeShellError: a file is missing, or the node refused or did not answer.
        :raises DeadlineExceeded: the deadline passed meanwhile.
        """
        options = extras or {}
        self._login = Login(
            host=hostname or "",
            port=port or 22,
            user=username or "root",
            key_file=str(options.get("key_file") or _usual_key()),
            known_hosts=str(options.get("known_hosts") or ""),
        )
        self._node = str(options.get("node") or hostname or "")
        if not self._login.key_file:
            hint = "set node_shell_key in the settings"
            raise NodeShellError("there is no private key to log in with", hint=hint, node=self._node)
        for role, path in (("key", self._login.key_file), ("known hosts", self._login.known_hosts)):
            if path and not Path(path).is_file():
                raise NodeShellError(f"the {role} file {path} does not exist", node=self._node)
        self._link = self._acquire()

    @property
    def connection(self) -> NodeShellConnection:
        """This object: :meth:`run` is what a task needs."""
        return self

    @property
    def session(self) -> Session:
        """The login, made anew when the old one was lost. Raises like :meth:`open`."""
        with self._lock:
            if self._link is None:
                raise NodeShellError("the connection is not open", node=self._node)
            if not self._link.usable:
                fresh = self._acquire()
                pool.release(self._link)
                self._link = fresh
            return self._link.wait(0)

    def run(self, command: Sequence[str], timeout: float | None = None) -> CommandResult:
        """Run an argument list on the node, quoted for its shell.

        :param timeout: seconds, at most what the deadline leaves; 60 when None.
        :raises NodeShellError: the connection was lost or the command took too long.
        :raises DeadlineExceeded: the deadline passed before it was over.
        """
        session = self.session
        seconds = current.get().clamp(COMMAND_TIMEOUT if timeout is None else timeout)
        line = shlex.join(command)
        if not session.room.acquire(timeout=seconds):
            raise self._explain(TimeoutError(), f"run {command[0]}")
        try:
            return run_on(session.transport, line, b"", seconds)
        except Exception as error:
            raise self._explain(error, f"run {command[0]}") from error
        finally:
            session.room.release()

    def close(self) -> None:
        """Give the login back; the last host of a node logs out."""
        with self._lock:
            link, self._link = self._link, None
        if link is not None:
            pool.release(link)

    def _acquire(self) -> Link[Login, Session]:
        try:
            return pool.acquire(self._login, max_links=1)
        except Exception as error:
            raise self._explain(error, "log in") from error

    def _explain(self, error: Exception, action: str) -> TorqueVMError:
        """Return our error for a failure to ``action`` (``log in``, ``run ip``)."""
        what = f"cannot {action} as {self._login}"
        if isinstance(error, ImportError):
            return NodeShellError("netmiko is not installed", hint="pip install 'nornir-torque-vm[node]'")
        if isinstance(error, TimeoutError) and current.get().remaining() <= 0.0:
            return DeadlineExceeded(f"{what}: the time is up", node=self._node)
        if isinstance(error, TimeoutError):
            return NodeShellError(f"{what}: no answer in time", hint="is its sshd hung?", node=self._node)
        cause = error.__context__ or error  # netmiko wraps one sentence of paramiko into twelve lines
        text = " ".join(str(cause).split()) or type(cause).__name__
        hint = "check node_shell_user, node_shell_key and node_shell_known_hosts in the settings"
        return NodeShellError(f"{what}: {text.rstrip('.')}", hint=hint, node=self._node)
