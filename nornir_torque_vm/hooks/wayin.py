"""The way into a guest for the job's owner: OpenSSH's client, with keys that are in no file.

Every ssh here stays in the job's session, so that a MOM which kills the job kills it as well, and is deaf to
the signals that can be survived: those are for the job, and the starter passes them on. They are
blocked: ignoring some would not last, a client that shares a connection gives them handlers of its own.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.hooks.child import PIPE, Child
from nornir_torque_vm.runstate.handover import HandOver, HandOverGuest

PASSED_ON = frozenset(
    {
        signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2,
        signal.SIGTERM, signal.SIGTSTP, signal.SIGCONT,
    }
)  # fmt: skip
"""Signals that are the job's; ``qsig`` can send any."""
SIDE_CALL_SECONDS = 20.0
"""Limit for asking the guest something beside the job."""
_KEPT = ("PATH", "TERM", "LANG")
"""Of the job's variables, those for ssh: its LD_LIBRARY_PATH is for other programs."""
_FOR_X11 = ("DISPLAY", "HOME")
"""What ssh needs besides: xauth finds the key of the display in the home, where the MOM has put it."""
_DIAL = shlex.join((sys.executable, "-I", "-S", f"{__file__.rpartition('/')[0]}/dial.py"))
"""What connects in ssh's place, see :mod:`~nornir_torque_vm.hooks.dial`."""


class WayIn:
    """ssh to one guest."""

    def __init__(self, handover: HandOver, guest: HandOverGuest) -> None:
        self.handover, self.guest = handover, guest
        self.files = [
            self._in_memory("key", handover.user_key),
            self._in_memory("hosts", handover.known_hosts),
        ]

    @staticmethod
    def _in_memory(name: str, text: str) -> int:
        fd = os.memfd_create(name)
        os.fchmod(fd, 0o600)
        with open(fd, "w", encoding="ascii", closefd=False) as file:
            file.write(text)
        return fd

    def argv(self, command: str, *options: str) -> list[str]:
        """The ssh command line; files are named through this process, since ssh closes what it inherits."""
        key, hosts = (f"/proc/{os.getpid()}/fd/{fd}" for fd in self.files)
        always = {
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "EscapeChar": "none",
            "GlobalKnownHostsFile": "none",
            "IdentitiesOnly": "yes",
            "IdentityFile": key,
            "KexAlgorithms": "curve25519-sha256",
            "ServerAliveCountMax": "4",
            "ServerAliveInterval": "15",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": hosts,
        }
        words = [word for name, value in always.items() for word in ("-o", f"{name}={value}")]
        where = f"{self.handover.user}@{self.guest.address}"
        return ["ssh", "-F", "none", *options, *words, where, command]

    def start(
        self, command: str, *options: str, stdin: int | None = None, stdout: int | None = None,
        stderr: int | None = None,
    ) -> Child:  # fmt: skip
        """Start ssh. It says nothing itself: why it failed is asked with :meth:`ask`.

        :param options: of ssh, in place of ``-T``.
        :param stdin, stdout, stderr: as for :class:`~nornir_torque_vm.hooks.child.Child`.
        """
        proxy = f"ProxyCommand={_DIAL.replace('%', '%%')} %h %p"
        more = ("-o", "LogLevel=QUIET", "-o", "ProxyUseFdpass=yes", "-o", proxy)
        argv = self.argv(command, *(options or ("-T",)), *more)
        kept = (*_KEPT, *(_FOR_X11 if "-Y" in options else ()))
        env = {name: os.environ[name] for name in kept if name in os.environ}
        return Child(argv, env, PASSED_ON, stdin=stdin, stdout=stdout, stderr=stderr)

    def start_connected(self, program: bytes, at: str, *, terminal: bool, x11: bool) -> Child:
        """Upload a program, and start it with our standard input, over one connection.

        ssh has to meet itself at a socket for that; its directory is gone when the program runs.

        :param at: see :func:`~nornir_torque_vm.render.entry.place`.
        :param x11: whether to forward it. Trusted, as the MOM's display is for a job on the node.
        :raises StateError: the guest did not take the program.
        """
        from nornir_torque_vm.render import entry

        folder = f"/tmp/torque-vm-{os.getpid()}-{os.urandom(4).hex()}"  # noqa: S108 - of an unguessable name
        os.mkdir(folder, 0o700)  # noqa: PTH102 - each task would pay for pathlib
        more = ("-o", f"ControlPath={folder}/ssh", *(["-Y"] if x11 else []))
        try:
            upload = self.start(
                entry.upload_command(at), "-T", "-M", *more,
                stdin=PIPE, stdout=PIPE,
            )  # fmt: skip
            upload.write(program)
            if not upload.read_line():
                raise self.broken(None)
            mode = "-tt" if terminal else "-T"
            process = self.start(entry.uploaded_command(at), mode, *more)
            upload.read_line()
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f"{folder}/ssh")  # noqa: PTH108
            os.rmdir(folder)  # noqa: PTH106
        return process

    def ask(self, command: str) -> tuple[int, bytes, bytes]:
        """Run a short command in the guest beside the job; return its exit status and what it said.

        :raises StateError: it did not end in time.
        """
        import subprocess  # for when something went wrong

        try:
            done = subprocess.run(
                self.argv(command, "-T", "-o", "LogLevel=ERROR"), stdin=subprocess.DEVNULL,
                capture_output=True, check=False, timeout=SIDE_CALL_SECONDS,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            raise self.broken(late.stderr) from late
        return done.returncode, done.stdout, done.stderr

    def broken(self, stderr: bytes | None) -> StateError:
        """The error for a guest that does not answer as it should, with what ssh said last."""
        said = os.fsdecode(stderr or b"").strip().splitlines()
        return StateError(
            "the connection to the guest broke",
            job=self.handover.job_id,
            guest=self.guest.name,
            hint=said[-1] if said else "see its console in the history",
        )
