"""Commands in a guest: pinned host key, exit status, bounded in every step."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from libvirt_kit import limit
from ssh_server import SshServer, free_port, hanging_up, mute_listener, private_key, public_line

from nornir_torque_vm.connections import channel, guest_ssh
from nornir_torque_vm.connections.command import CommandResult
from nornir_torque_vm.connections.guest_ssh import (
    GuestSshConnection,
    SshAuthFailed,
    SshHostKeyMismatch,
    SshNoBanner,
    SshRefused,
    SshUnreachable,
)
from nornir_torque_vm.errors import DeadlineExceeded, GuestError, InventoryError, NotHealthy

KEY = private_key()


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    """One server for all tests here."""
    made = SshServer(accept=KEY)
    yield made
    made.stop()


def connect(port: int, host_key: str, key: str = KEY, **options: Any) -> GuestSshConnection:
    connection = GuestSshConnection()
    extras = {"host_key": host_key, "private_key": key, "guest": "j1-r0", **options}
    connection.open("127.0.0.1", "root", None, port, None, extras)
    return connection


@pytest.fixture
def guest(server: SshServer) -> Iterator[GuestSshConnection]:
    """A connection to the server."""
    connection = connect(server.port, public_line(server.host_key))
    yield connection
    connection.close()


def test_a_command_returns_its_status_and_both_streams(guest: GuestSshConnection) -> None:
    """Unlike a scraped shell, an exec channel tells them apart."""
    assert guest.run("echo out; echo err >&2; exit 7") == CommandResult(7, "out\n", "err\n")
    assert guest.run("true").ok


def test_input_reaches_the_command_and_ends(guest: GuestSshConnection) -> None:
    """Scripts are sent by standard input, so that no quoting stands between."""
    assert guest.run("cat; echo done", stdin=b"#!/bin/sh\n'\"$x\n").stdout == "#!/bin/sh\n'\"$x\ndone\n"


def test_more_input_and_output_than_any_buffer_holds(guest: GuestSshConnection) -> None:
    """Both directions are served at once: a filter that is fed 3 MB does not lock up."""
    data = b"0123456789abcdef" * (3 << 16)
    assert guest.run("cat", stdin=data, timeout=30).stdout.encode() == data


def test_a_command_need_not_read_its_input(guest: GuestSshConnection) -> None:
    """It may exit first; that is no error."""
    assert guest.run("exec <&-; exit 3", stdin=b"x" * (8 << 20), timeout=20).rc == 3


def test_output_beyond_the_limit_is_thrown_away(
    guest: GuestSshConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest belongs to a stranger: it cannot fill the memory of the mother superior."""
    monkeypatch.setattr("nornir_torque_vm.connections.channel.OUTPUT_LIMIT", 1000)
    result = guest.run("head -c 200000 /dev/zero | tr '\\0' x; echo warn >&2")
    assert (result.rc, result.stdout, result.stderr) == (0, "x" * 1000, "warn\n")


def test_output_that_is_not_utf8_is_shown_not_raised(guest: GuestSshConnection) -> None:
    """What a guest prints is hostile text."""
    assert guest.run("printf 'a\\377b'").stdout == "a\N{REPLACEMENT CHARACTER}b"


def test_a_process_left_in_the_background_does_not_hold_the_command(guest: GuestSshConnection) -> None:
    """It keeps the output open for ever; the exit status counts."""
    began = time.monotonic()
    assert guest.run("sleep 20 & echo started; exit 4") == CommandResult(4, "started\n", "")
    assert time.monotonic() - began < 5


def test_a_command_without_an_exit_status_is_no_success(guest: GuestSshConnection) -> None:
    """Killed by a signal."""
    result = guest.run("%signal")
    assert (result.rc, result.ok, result.summary()) == (-1, False, "no exit status")


@pytest.mark.parametrize("command", ["%hang", "%mute", "sleep 20"])
def test_no_command_outlives_its_timeout(guest: GuestSshConnection, command: str) -> None:
    """Whether it runs for ever, or the server never even answers the request."""
    began = time.monotonic()
    with pytest.raises(SshUnreachable, match=r"guest j1-r0: a command was not over after 0\.3 s"):
        guest.run(command, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 1.5


class Flood:
    """A channel that always has something more to say; ``exited``: although its command is over."""

    def __init__(self, *, exited: bool) -> None:
        self._pipe = os.pipe()
        self._exited = exited
        self.eof_received = self.closed = False

    def fileno(self) -> int:
        return self._pipe[0]

    def recv_ready(self) -> bool:
        return True

    recv_stderr_ready = recv_ready

    def recv(self, size: int) -> bytes:
        return b"x" * size

    recv_stderr = recv

    def shutdown_write(self) -> None:
        """Nothing waits for it."""

    def exit_status_ready(self) -> bool:
        return self._exited

    def recv_exit_status(self) -> int:
        return 0

    def close(self) -> None:
        """Close what can be polled."""
        for fd in self._pipe:
            os.close(fd)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("exited", [False, True])
def test_a_guest_that_never_stops_talking_is_not_listened_to_for_ever(
    monkeypatch: pytest.MonkeyPatch, *, exited: bool
) -> None:
    """However fast it is; on either stream."""
    monkeypatch.setattr(channel, "AFTER_EXIT", 0.2)
    flood: Any = Flood(exited=exited)
    began = time.monotonic()
    try:
        with contextlib.nullcontext() if exited else pytest.raises(TimeoutError):
            said = channel._Exchange(flood, b"").finish(began + (20 if exited else 0.5))
            assert len(said.stdout) == channel.OUTPUT_LIMIT
    finally:
        flood.close()
    assert time.monotonic() - began < 10


def test_the_deadline_bounds_a_command_and_makes_it_late(guest: GuestSshConnection) -> None:
    """Then the time is to blame, not the guest."""
    began = time.monotonic()
    with limit(0.3), pytest.raises(DeadlineExceeded, match="guest j1-r0"):
        guest.run("%hang", timeout=30)
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize("command", ["%refuse", "%drop"])
def test_a_command_that_cannot_run_is_one_sentence(server: SshServer, command: str) -> None:
    """Refused by the server, or the guest shuts down meanwhile."""
    guest = connect(server.port, public_line(server.host_key))
    with pytest.raises(SshUnreachable) as caught:
        guest.run(command, timeout=5)
    assert str(caught.value).startswith("guest j1-r0: the connection was lost: ")
    assert "\n" not in str(caught.value)
    guest.close()


def test_another_host_key_is_refused_before_we_authenticate(server: SshServer) -> None:
    """Whoever has the guest's address now must not get a signature from us."""
    logins = server.logins
    with pytest.raises(SshHostKeyMismatch, match="presents another host key"):
        connect(server.port, public_line(private_key()))
    assert server.logins == logins


def test_a_host_key_of_another_type_is_refused(server: SshServer) -> None:
    """The server has no key of the pinned type: the handshake itself fails."""
    import paramiko

    ecdsa = paramiko.ECDSAKey.generate()
    with pytest.raises(SshHostKeyMismatch):
        connect(server.port, f"{ecdsa.get_name()} {ecdsa.get_base64()}")


def test_our_key_refused_is_said_so(server: SshServer) -> None:
    """Not yet installed by cloud-init, or never."""
    with pytest.raises(SshAuthFailed, match="refuses our key for root"):
        connect(server.port, public_line(server.host_key), key=private_key())


def test_a_port_nobody_listens_on_refuses() -> None:
    """The guest's kernel is up, its sshd is not: worth asking again soon."""
    with pytest.raises(SshRefused, match="refuses connections"):
        connect(free_port(), public_line(KEY))


def test_a_server_that_says_nothing_has_no_banner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted by a kernel whose sshd is stuck, or closed at once by one that is too busy."""
    monkeypatch.setattr(guest_ssh, "OPEN_TIMEOUT", 0.3)
    began = time.monotonic()
    with mute_listener() as port, pytest.raises(SshNoBanner, match="did not say hello"):
        connect(port, public_line(KEY))
    assert time.monotonic() - began < 2
    with hanging_up() as port, pytest.raises(SshNoBanner):
        connect(port, public_line(KEY))


def test_a_full_backlog_does_not_answer() -> None:
    """A connection nobody completes: bounded by the deadline, and then late."""
    with socket.socket() as listener, socket.socket() as filler:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        filler.connect(listener.getsockname())
        began = time.monotonic()
        with limit(0.3), pytest.raises(DeadlineExceeded, match="does not answer"):
            connect(listener.getsockname()[1], public_line(KEY))
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("extras", "sentence"),
    [
        ({"host_key": ""}, "a key of guest_ssh cannot be read"),
        ({"host_key": "ssh-ed25519 notbase64!"}, "a key of guest_ssh cannot be read"),
        ({"private_key": "no key"}, "a key of guest_ssh cannot be read"),
    ],
)
def test_keys_that_cannot_be_read_are_the_inventorys_fault(extras: dict[str, str], sentence: str) -> None:
    """Said before any packet is sent, and without showing the key."""
    with pytest.raises(InventoryError, match=sentence) as caught:
        connect(free_port(), **{"host_key": public_line(KEY), **extras})
    assert "PRIVATE" not in str(caught.value)


def test_a_missing_key_is_named() -> None:
    """The inventory has to bring both."""
    with pytest.raises(InventoryError, match="guest_ssh needs 'private_key' in its extras"):
        GuestSshConnection().open("127.0.0.1", None, None, 1, None, {"host_key": public_line(KEY)})


def test_a_guest_without_address_is_not_healthy() -> None:
    """Nornir passes None until the address was discovered."""
    with pytest.raises(NotHealthy, match="its address is not known"):
        GuestSshConnection().open(None, None, None, None, None, {"guest": "j1-r0"})


def test_every_login_error_is_a_guest_error() -> None:
    """Whoever polls may catch one class and tell the steps apart by its subclass."""
    for error in (SshUnreachable, SshRefused, SshNoBanner, SshHostKeyMismatch, SshAuthFailed):
        assert issubclass(error, NotHealthy)
        assert issubclass(error, GuestError)


def test_nothing_is_printed_when_a_login_fails() -> None:
    """Paramiko logs whole tracebacks; without a handler Python would put them on stderr."""
    script = (
        "import sys, test_connections_guest_ssh as t\n"
        "with t.mute_listener() as port, t.limit(0.2):\n"
        "    try: t.connect(port, t.public_line(t.KEY))\n"
        "    except t.DeadlineExceeded as error: print(error)\n"
    )
    here = __file__.rpartition("/")[0]
    done = subprocess.run([sys.executable, "-c", script], cwd=here, capture_output=True, check=True)
    assert done.stdout.startswith(b"guest j1-r0: its ssh server did not say hello")
    assert done.stderr == b""


def test_closing_twice_is_harmless(server: SshServer) -> None:
    """Nornir closes; so may a task."""
    guest = connect(server.port, public_line(server.host_key))
    guest.close()
    guest.close()
    with pytest.raises(SshUnreachable, match="not open"):
        guest.run("true")
