"""Interactive jobs of the embedded driver: terminals are made on the node and joined with the user's."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
import threading
from collections.abc import Iterator

import pytest
from driver_kit import Nodes, nodes  # noqa: F401 -- a fixture
from nornir_kit import eventually

from nornir_torque_vm.driver.batch import BatchJob, Outcome, Submission
from nornir_torque_vm.driver.terminal import Desk
from nornir_torque_vm.errors import LabError


class User:
    """Somebody at a terminal: types, and reads what is on the screen."""

    def __init__(self) -> None:
        self.hand, self.tty = os.openpty()
        self.desk = Desk(self.tty, self.tty)
        self.seen = b""
        os.set_blocking(self.hand, False)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.tty, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        self.desk.fit()

    def type(self, text: str) -> None:
        os.write(self.hand, text.encode())

    def sees(self, text: str) -> bool:
        def look() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.seen += os.read(self.hand, 65536)
            return text.encode() in self.seen

        return eventually(look, 30)


@pytest.fixture
def user() -> Iterator[User]:
    person = User()
    yield person
    os.close(person.hand)
    os.close(person.tty)


INTERACTIVE = Submission(b"", "STDIN", ["n1"], 1, interactive=True)


def test_a_shell_at_the_users_terminal(nodes: Nodes, user: User, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """With its size, keys as they are typed, no script, and TORQUE's exit status for it."""
    monkeypatch.setenv("TERM", "vt220")
    before = termios.tcgetattr(user.tty)
    user.resize(31, 91)
    job = BatchJob(nodes, INTERACTIVE, nodes.owner, 17, desk=user.desk)
    done: list[Outcome] = []
    thread = threading.Thread(target=lambda: done.append(job.run()))
    thread.start()
    user.type("echo at:$PBS_ENVIRONMENT:$TERM:$(stty size)\n")
    assert user.sees("at:PBS_INTERACTIVE:vt220:31 91")
    user.resize(33, 77)
    user.type("echo size:$(stty size); cat; echo after:$?\n")
    assert user.sees("size:33 77")
    user.type("\x03")
    assert user.sees("^C")
    user.type("echo still:here\n")
    assert user.sees("still:here")
    user.type("exit 5\n")
    thread.join(30)
    assert done == [Outcome("17.head", "start", 265, 1)]
    assert termios.tcgetattr(user.tty) == before


def test_the_prologue_talks_to_the_terminal_and_the_epilogue_does_not(nodes: Nodes, user: User) -> None:  # noqa: F811
    """TF 1.5; what is typed meanwhile is the shell's."""
    nodes.hook("prologue.vm", "read -r nothing; echo booting; test -t 1 && test -t 2 && echo tty:ok; tty <&1")
    nodes.hook("epilogue.vm", f"test -t 1 || echo >{nodes.folder}/silent; echo never")
    job = BatchJob(nodes, INTERACTIVE, nodes.owner, 17, desk=user.desk)
    thread = threading.Thread(target=job.run)
    thread.start()
    assert user.sees("booting")
    assert user.sees("tty:ok")
    user.type("echo in:the:shell; exit\n")
    assert user.sees("in:the:shell")
    thread.join(30)
    assert (nodes.folder / "silent").exists()
    assert b"never" not in user.seen


def test_a_deleted_one_ends(nodes: Nodes, user: User) -> None:  # noqa: F811
    """A shell at a terminal ignores SIGTERM, so it is killed soon after."""
    job = BatchJob(nodes, INTERACTIVE, nodes.owner, 17, desk=user.desk)
    thread = threading.Thread(target=job.run)
    thread.start()
    user.type("trap '' TERM; echo up:$((1 + 1))\n")
    assert user.sees("up:2")
    job.delete()
    thread.join(30)
    assert not thread.is_alive()


def test_without_a_terminal_there_is_no_interactive_job(nodes: Nodes) -> None:  # noqa: F811
    nodes.hook("prologue.vm", "exit 0")
    with pytest.raises(LabError, match="needs a terminal"):
        BatchJob(nodes, INTERACTIVE, nodes.owner, 17).run()
