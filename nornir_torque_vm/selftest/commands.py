"""Running commands as the user whose jobs the self-test submits: root follows nothing that user can write.

A child takes on the user's gid, groups and uid before anything of the user's is looked at, the home directory
too: it may be on an export that root cannot enter. It has no terminal of ours, and no variable but these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import subprocess
from collections.abc import Sequence

from nornir_torque_vm.deadline import NOTICE, Deadline
from nornir_torque_vm.errors import InventoryError, TorqueVMError
from nornir_torque_vm.model import Owner
from nornir_torque_vm.pbsnodes import environment

PATIENCE = 30.0
"""Seconds a command may take."""
LIMIT = 1 << 22
"""Bytes of an answer that are read, of both streams together; of 64 jobs TORQUE tells 0.3 MB."""
NO_HOME = 97
"""Exit code of the shell below when the home directory cannot be entered."""
_AT_HOME = f'cd -- "$1" 2>/dev/null || exit {NO_HOME}; shift; exec "$@"'
_LAST_WAIT = 1.0
"""Seconds a killed child is waited for; what hangs in a dead file system does not even die."""
_CHUNK = 1 << 16


class NotRun(TorqueVMError):
    """A command of the user's could not be run, or did not end."""


@dataclasses.dataclass(frozen=True, slots=True)
class Done:
    """How a command ended; its streams are the user's word."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The last line of what it complained about."""
        lines = self.err.strip().splitlines()
        return lines[-1].strip().removeprefix("torque-vm: ") if lines else f"exit code {self.code}"


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
    """Some seconds from now, or less: a signal may make the deadline due at any time."""

    deadline: Deadline
    own: Deadline

    def remaining(self) -> float:
        """Seconds left, never negative."""
        return min(self.deadline.remaining(), self.own.remaining())


class AsUser:
    """Runs commands with a user's rights, in the user's home.

    :param owner: the user.
    :raises InventoryError: we are neither root nor the user.
    """

    def __init__(self, owner: Owner) -> None:
        if os.geteuid() not in {0, owner.uid}:
            raise InventoryError(f"only root and {owner.name} can submit jobs of {owner.name}")
        self.owner = owner
        self._variables = {
            **environment(os.environ), "HOME": owner.home, "USER": owner.name, "LOGNAME": owner.name,
            "SHELL": owner.shell,
        }  # fmt: skip

    def run(
        self, argv: Sequence[str], deadline: Deadline, text: str = "", *, seconds: float = PATIENCE
    ) -> Done:
        """Run a command and return how it ended.

        :param deadline: it is killed then, and after so many ``seconds``.
        :param text: its standard input; less than a pipe holds (64 KiB).
        :raises NotRun: it did not end in time, said too much, or the home directory cannot be entered.
        """
        name = os.path.basename(argv[0])  # noqa: PTH119 - a word, no file
        done = self._ended(self._start(argv), text, Patience(deadline, Deadline.after(seconds)), name)
        if done.code == NO_HOME and not done.err:
            raise NotRun(
                f"{self.owner.name} cannot enter the home directory {self.owner.home} here",
                hint="mount it, or name a user who has one",
            )
        return done

    def _start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        owner = self.owner
        pipe, words = subprocess.PIPE, ["/bin/sh", "-c", _AT_HOME, "sh", owner.home, *argv]
        if os.geteuid() != 0:  # the user's own call
            return subprocess.Popen(
                words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._variables, start_new_session=True
            )
        return subprocess.Popen(
            words, stdin=pipe, stdout=pipe, stderr=pipe, env=self._variables, start_new_session=True,
            user=owner.uid, group=owner.gid, extra_groups=[owner.gid, *(gid for _, gid in owner.groups)],
            umask=0o077, cwd="/",
        )  # fmt: skip

    def _ended(self, process: subprocess.Popen[bytes], text: str, patience: Patience, name: str) -> Done:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - they are pipes
        try:
            with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
                pipe.write(text.encode())
            out, err = _both(process, patience, name)
            return Done(process.wait(patience.remaining()), out, err)
        except subprocess.TimeoutExpired:
            raise NotRun(f"{name} does not end") from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LAST_WAIT)
            process.stdout.close()
            process.stderr.close()


def _both(process: subprocess.Popen[bytes], patience: Patience, name: str) -> tuple[str, str]:
    """What a process writes to its two streams until it closes them."""
    assert process.stdout and process.stderr  # noqa: S101, PT018 - they are pipes
    found = {process.stdout: bytearray(), process.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for stream, content in found.items():
            selector.register(stream, selectors.EVENT_READ, content)
        while selector.get_map():
            ready = selector.select(min(NOTICE, patience.remaining()))
            if not ready and patience.remaining() <= 0.0:
                raise NotRun(f"{name} does not answer in time")
            for key, _ in ready:
                chunk = os.read(key.fd, _CHUNK)
                key.data.extend(chunk)
                if not chunk:
                    selector.unregister(key.fileobj)
            if sum(map(len, found.values())) > LIMIT:
                raise NotRun(f"{name} says more than {LIMIT} bytes")
    out, err = (bytes(said).decode(errors="replace") for said in found.values())
    return out, err
