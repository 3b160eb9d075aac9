"""A small ssh server on 127.0.0.1, in a thread: runs commands by ``sh -c``, and misbehaves on request.

Commands it does not give to the shell: ``%hang`` is accepted and never ends, ``%mute`` is never even
answered, ``%refuse`` is refused, ``%drop`` closes the connection, ``%signal`` ends without a status.
"""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import paramiko
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat


def private_key() -> str:
    """Return a new ed25519 key in OpenSSH's format."""
    made = Ed25519PrivateKey.generate()
    return made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()


def public_line(private: str) -> str:
    """Return the public key line of a private key."""
    key = paramiko.Ed25519Key.from_private_key(io.StringIO(private))
    return f"{key.get_name()} {key.get_base64()} somebody@somewhere"


class SshServer:
    """Listens until :meth:`stop`; ``logins`` counts authentications that succeeded.

    :param accept: private key whose public half may log in as root.
    """

    def __init__(self, accept: str) -> None:
        self.host_key = private_key()
        self.accepted = paramiko.Ed25519Key.from_private_key(io.StringIO(accept))
        self.logins = self.busy = self.busiest = 0
        self.lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.transports: list[paramiko.Transport] = []
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def known_hosts(self) -> str:
        """The line that pins this server."""
        return f"[127.0.0.1]:{self.port} {public_line(self.host_key)}\n"

    def stop(self) -> None:
        self._socket.close()
        for transport in self.transports:
            transport.close()

    def _listen(self) -> None:
        host_key = paramiko.Ed25519Key.from_private_key(io.StringIO(self.host_key))
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._socket.accept()
                transport = paramiko.Transport(client)
                transport.add_server_key(host_key)
                self.transports.append(transport)
                with contextlib.suppress(paramiko.SSHException, EOFError):
                    transport.start_server(event=threading.Event(), server=_Session(self, transport))


class _Session(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    def __init__(self, server: SshServer, transport: paramiko.Transport) -> None:
        self._server, self._transport = server, transport

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if username == "root" and key == self._server.accepted:
            self._server.logins += 1
            return int(paramiko.AUTH_SUCCESSFUL)
        return int(paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_pty_request(self, *args: Any) -> bool:
        return True

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return True

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        line = command.decode()
        if line == "%mute":
            time.sleep(3)
        if line == "%drop":
            self._transport.close()
        if line == "%refuse":
            return False
        threading.Thread(target=self._run, args=(channel, line), daemon=True).start()
        return True

    def _run(self, channel: paramiko.Channel, line: str) -> None:
        server = self._server
        with server.lock:
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        with contextlib.suppress(OSError, EOFError):
            if line == "%signal":
                time.sleep(0.2)  # a real sshd answers the request before it closes the channel
                channel.close()
            elif line != "%hang":
                _run_by_shell(channel, line)
        with server.lock:
            server.busy -= 1


def _run_by_shell(channel: paramiko.Channel, line: str) -> None:
    """Run a command with its output on the way while its input is still coming, as sshd does."""
    argv = ["sh", "-c", line]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        pumps = [
            threading.Thread(target=_pump, args=(child.stdout.read1, channel.sendall), daemon=True),  # type: ignore[attr-defined]
            threading.Thread(target=_pump, args=(child.stderr.read1, channel.sendall_stderr), daemon=True),  # type: ignore[attr-defined]
        ]
        for pump in pumps:
            pump.start()
        with contextlib.suppress(BrokenPipeError):
            while data := channel.recv(32768):
                child.stdin.write(data)
                child.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        status = child.wait()
        if " & " not in line:  # else something still holds the streams
            for pump in pumps:
                pump.join()
        channel.send_exit_status(status)
        if " & " not in line:
            channel.shutdown_write()
            channel.close()


def _pump(read: Any, write: Any) -> None:
    with contextlib.suppress(OSError, ValueError):
        while data := read(32768):
            write(data)


@contextlib.contextmanager
def mute_listener() -> Iterator[int]:
    """A port that accepts connections and never says a word; yields its number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextlib.contextmanager
def hanging_up() -> Iterator[int]:
    """A port that accepts one connection and closes it at once; yields its number."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_hang_up, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def _hang_up(listener: socket.socket) -> None:
    listener.accept()[0].close()


def free_port() -> int:
    """A port nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
