"""Nornir connection plugin ``guest_ssh``: commands in a guest, whose host key we made ourselves.

``username``, ``hostname`` (the guest's address) and ``port`` are the connection's; ``extras`` are::

    host_key      public key line the guest must present ("ssh-ed25519 AAAA…")
    private_key   our private key as text in OpenSSH's format, never a file
    guest         name for messages

Each step of the login has its own error, so that whoever polls a booting guest can tell *not yet*
from *never*. The module imports paramiko when a connection is opened.
"""

from __future__ import annotations

import io
import socket
from typing import TYPE_CHECKING, Any

from nornir.core.configuration import Config

from nornir_torque_vm.connections.channel import quiet, run_on
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.deadline import current
from nornir_torque_vm.errors import DeadlineExceeded, InventoryError, NotHealthy, TorqueVMError

if TYPE_CHECKING:
    from paramiko import PKey, Transport

CONNECTION_NAME = "guest_ssh"
OPEN_TIMEOUT = 15.0
"""Seconds each step of the login may take when no deadline is nearer."""
COMMAND_TIMEOUT = 60.0
"""Seconds a command may take when neither the caller nor a deadline says less."""


class SshUnreachable(NotHealthy):
    """Nothing answers at the address, or the connection was lost."""


class SshRefused(NotHealthy):
    """The guest's kernel answers, its sshd does not listen yet."""


class SshNoBanner(NotHealthy):
    """Something listens and does not speak ssh, or not yet."""


class SshHostKeyMismatch(NotHealthy):
    """The ssh server at that address is not the guest we made."""


class SshAuthFailed(NotHealthy):
    """The guest does not accept our key, or not yet."""


class GuestSshConnection:
    """See the module; ``open`` and ``close`` are called by Nornir, :meth:`run` by tasks."""

    def __init__(self) -> None:
        self._transport: Transport | None = None
        self._guest = ""

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
        """Log in once; polling is the caller's.

        :raises InventoryError: a key is missing or cannot be read.
        :raises NotHealthy: one of its subclasses in this module says which step failed.
        :raises DeadlineExceeded: the deadline passed meanwhile.
        """
        options = extras or {}
        self._guest = str(options.get("guest") or hostname or "")
        if not hostname:
            raise SshUnreachable("its address is not known", hint="discover it first", guest=self._guest)
        host_key, private_key = self._keys(options)
        sock = self._connect(hostname, port or 22)
        from paramiko import Transport

        transport = Transport(sock)
        try:
            self._log_in(transport, host_key, username or "root", private_key)
        except BaseException:
            transport.close()
            raise
        self._transport = transport

    @property
    def connection(self) -> GuestSshConnection:
        """This object: :meth:`run` is what a task needs."""
        return self

    def run(self, command: str, stdin: bytes = b"", timeout: float | None = None) -> CommandResult:
        """Run a shell command line in the guest with ``stdin`` as its input.

        :param timeout: seconds, at most what the deadline leaves; 60 when None.
        :raises SshUnreachable: the connection was lost or the command took too long.
        :raises DeadlineExceeded: the deadline passed before it was over.
        """
        if self._transport is None:
            raise SshUnreachable("the connection is not open", guest=self._guest)
        seconds = current.get().clamp(COMMAND_TIMEOUT if timeout is None else timeout)
        try:
            return run_on(self._transport, command, stdin, seconds)
        except TimeoutError as error:
            what = f"a command was not over after {seconds:.1f} s"
            raise self._late(SshUnreachable(what, guest=self._guest)) from error
        except Exception as error:
            what = f"the connection was lost: {_text(error)}"
            raise SshUnreachable(what, hint="did the guest shut down?", guest=self._guest) from error

    def close(self) -> None:
        """Hang up; never blocks."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _late(self, error: NotHealthy) -> TorqueVMError:
        """Return ``error``, unless it only came about because the time is up."""
        if current.get().remaining() > 0.0:
            return error
        return DeadlineExceeded(error.what, guest=self._guest)

    def _keys(self, options: dict[str, Any]) -> tuple[PKey, PKey]:
        quiet()
        import paramiko

        try:
            kind, blob = str(options["host_key"]).split()[:2]
            host_key = paramiko.PKey.from_type_string(kind, _decode(blob))
            private_key = paramiko.Ed25519Key.from_private_key(io.StringIO(options["private_key"]))
        except KeyError as error:
            raise InventoryError(f"guest_ssh needs {error} in its extras", guest=self._guest) from error
        except Exception as error:
            what = f"a key of guest_ssh cannot be read: {_text(error)}"
            raise InventoryError(what, hint="OpenSSH's formats, ed25519", guest=self._guest) from error
        return host_key, private_key

    def _connect(self, host: str, port: int) -> socket.socket:
        try:
            return socket.create_connection((host, port), timeout=max(0.001, _seconds()))
        except ConnectionRefusedError as error:
            what, hint = f"{host} port {port} refuses connections", "its sshd has not started"
            raise SshRefused(what, hint=hint, guest=self._guest) from error
        except OSError as error:
            what, hint = f"{host} port {port} does not answer: {_text(error)}", "is it still booting?"
            raise self._late(SshUnreachable(what, hint=hint, guest=self._guest)) from error

    def _log_in(self, transport: Transport, host_key: PKey, user: str, key: PKey) -> None:
        """Greet, exchange keys, check the host's, authenticate."""
        from paramiko import AuthenticationException, SSHException
        from paramiko.ssh_exception import IncompatiblePeer

        offered = transport.get_security_options()
        if host_key.get_name() in offered.key_types:  # an rsa key goes by other names there
            offered.key_types = (host_key.get_name(),)
        transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = _seconds()
        try:
            transport.start_client(timeout=_seconds())
            presented = transport.get_remote_server_key()
        except IncompatiblePeer as error:
            raise self._mismatch() from error
        except (SSHException, EOFError, OSError) as error:
            if transport.remote_version:
                what = f"the ssh handshake failed: {_text(error)}"
                raise self._late(SshUnreachable(what, guest=self._guest)) from error
            what, hint = "its ssh server did not say hello", "still booting, or too busy for more logins"
            raise self._late(SshNoBanner(what, hint=hint, guest=self._guest)) from error
        if presented != host_key:
            raise self._mismatch()
        try:
            transport.auth_publickey(user, key)
        except AuthenticationException as error:
            what, hint = f"it refuses our key for {user}", "cloud-init may not have installed it yet"
            raise self._late(SshAuthFailed(what, hint=hint, guest=self._guest)) from error
        except (SSHException, EOFError, OSError) as error:
            what = f"the connection was lost during login: {_text(error)}"
            raise self._late(SshUnreachable(what, guest=self._guest)) from error

    def _mismatch(self) -> SshHostKeyMismatch:
        what = "the ssh server at its address presents another host key"
        hint = "another machine has this address, or cloud-init has not installed the key yet"
        return SshHostKeyMismatch(what, hint=hint, guest=self._guest)


def _seconds() -> float:
    return current.get().clamp(OPEN_TIMEOUT)


def _decode(blob: str) -> bytes:
    import base64

    return base64.b64decode(blob, validate=True)


def _text(error: BaseException) -> str:
    """The exception in few words, on one line."""
    strerror = getattr(error, "strerror", None)
    return " ".join(str(strerror or error or type(error).__name__).split()).rstrip(".")
