"""What connects to guests for the job starter's ssh."""

from __future__ import annotations

import socket
import subprocess
import sys

from ssh_server import free_port, mute_listener

from nornir_torque_vm.hooks import dial


def run(port: int) -> tuple[subprocess.CompletedProcess[str], list[int]]:
    """Run it as ssh does, with a socket as its standard output; return the descriptors that came."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = [sys.executable, "-I", "-S", dial.__file__, "127.0.0.1", str(port)]
        done = subprocess.run(
            argv, stdout=theirs.fileno(), stderr=subprocess.PIPE, text=True, timeout=30, check=False
        )
        theirs.close()
        return done, socket.recv_fds(ours, 1, 1)[1]


def test_ssh_gets_a_connection_that_does_not_wait_for_acknowledgements() -> None:
    """As ssh would have made it itself: connected, and it blocks."""
    with mute_listener() as port:
        done, (fd,) = run(port)
        with socket.socket(fileno=fd) as given:
            assert given.getpeername() == ("127.0.0.1", port)
            assert given.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert given.getblocking()
    assert (done.returncode, done.stderr) == (0, "")


def test_without_an_answer_ssh_gets_nothing() -> None:
    """And the user one line only: the starter's, which asks for the reason."""
    done, given = run(free_port())
    assert (done.returncode, done.stderr, given) == (1, "", [])
