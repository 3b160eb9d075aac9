"""A command on another machine over ssh, as if it ran here: its terminal, its signals, its own exit code.

ssh alone passes signals on to no command without a terminal, and says 255 for every trouble of its own, which
a command may say too. So the far end notes which session the command has, and that 255 was its own word.
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.hooks.child import NULL, Child
from nornir_torque_vm.render.entry import signal_command

Way = Callable[[str, Sequence[str]], Sequence[str]]
"""Gives ssh's command line for a command of the far end's shell, and options of ssh."""

SSH_FAILED = 255
SIGNALLED = 128
"""A shell adds this to the number of the signal that a program died of."""
SIDE_CALL_SECONDS = 20.0
PASSED_ON = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2}
)
LOGIN = '"${SHELL:-/bin/sh}" -l'
"""The command of who names none: a login shell."""


def run(way: Way, command: str, *, terminal: bool, where: str, env: dict[str, str]) -> int:
    """Run a command of the far end's shell; return its exit code, 128 and the number for a signal.

    :param terminal: whether it gets one; what is typed then goes there, Ctrl-C too.
    :param where: what the far end is called in errors.
    :param env: the environment of ssh.
    :raises StateError: the connection broke, or could not be made.
    :raises OSError: there is no ssh.
    """
    note = f"/tmp/torque-vm-{secrets.token_hex(8)}"  # noqa: S108 - there; of an unguessable name
    old = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    try:
        argv = list(way(noted(command, note, terminal=terminal), ["-tt" if terminal else "-T"]))
        # A terminal's own signals are typed there; ssh has to hear those that end it.
        process = Child(argv, env, () if terminal else PASSED_ON)
        code = attend(process, way, note, env, terminal=terminal)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
    if code != SSH_FAILED:
        return code
    told = ask(way, f"cat {note}.255 && rm -f {note}.255", env)
    if told is None or told.strip() != str(SSH_FAILED):
        raise StateError(f"the connection to {where} broke or could not be made", hint="ssh said why")
    return SSH_FAILED


def noted(command: str, note: str, *, terminal: bool) -> str:
    """Shell text that runs ``command``, and notes what the near end has to know; for any login shell.

    The notes' names stand among our words, for everybody there to read; so nothing that is in their place
    already is written to (``set -C``), and without the first one nothing is run.
    """
    ran = f"sh -c {shlex.quote(command)}"
    if not terminal:
        # A session of its own, which signals can be sent to: not every sshd makes one. The subshell becomes
        # it; only /proc tells a subshell its number.
        told = f"read -r pid rest </proc/self/stat; (umask 077; set -C; echo $pid >{note}.pid)"
        ran = f"({told} && exec setsid {ran})"
    script = (
        f"trap : INT QUIT TERM HUP; {ran}; s=$?; rm -f {note}.pid; "
        f"[ $s != {SSH_FAILED} ] || (umask 077; set -C; echo $s >{note}.255); exit $s"
    )
    return f"exec sh -c {shlex.quote(script)}"


def attend(process: Child, way: Way, note: str, env: dict[str, str], *, terminal: bool) -> int:
    """Wait for the command's end and pass signals on until then; return its exit code."""
    calls: list[Child] = []
    while (code := process.poll()) is None:
        number = signal.sigwait(PASSED_ON | {signal.SIGCHLD})
        if number == signal.SIGCHLD:
            continue
        if terminal:
            os.kill(process.pid, number)
        else:
            name = signal.Signals(number).name.removeprefix("SIG")
            argv = list(way(signal_command(note, name), ["-T", "-o", "BatchMode=yes"]))
            calls.append(Child(argv, env, PASSED_ON, stdin=NULL, stdout=NULL, stderr=NULL))
    for call in calls:
        call.kill()
    return code if code >= 0 else SIGNALLED - code


def ask(way: Way, command: str, env: dict[str, str]) -> str | None:
    """Return what a short command prints; None when it fails, or does not end in time."""
    argv = list(way(command, ["-T", "-o", "BatchMode=yes", "-o", "LogLevel=QUIET"]))
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False,
            timeout=SIDE_CALL_SECONDS, env=env,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None
    return done.stdout if done.returncode == 0 else None
