"""The job starter of a VM job: enters the rank-0 guest as the job's owner and runs the script there.

Runs with the user's rights in the job's own session (TF 3.1); standard library only, and no file is
written: ssh reads its key and the pinned host keys from memory. Its arguments are the run directory
and the task's own; a batch job's is the user's shell.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from nornir_torque_vm.errors import Blame, StateError, TorqueVMError
from nornir_torque_vm.exitcodes import RunExit
from nornir_torque_vm.handover import HandOver, read_handover
from nornir_torque_vm.hooks.stdio import say, settle_stdio
from nornir_torque_vm.identity import job_slug
from nornir_torque_vm.render.entry import (
    Entry,
    entry_program,
    job_environment,
    signal_command,
    status_command,
    vm_nodefile,
)

SSH_FAILED = 255
"""ssh's own exit code; a job may end with the same number, so the guest is asked."""
SIDE_CALL_SECONDS = 20.0
"""Limit for passing on a signal or asking for the status."""


class Ssh:
    """The way into one guest."""

    def __init__(self, handover: HandOver) -> None:
        self.handover = handover
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

    def argv(self, command: str) -> list[str]:
        """The ssh command line; files are named through this process, since ssh closes what it inherits."""
        key, hosts = (f"/proc/{os.getpid()}/fd/{fd}" for fd in self.files)
        rank0 = self.handover.guests[0]
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": "20",
            "GlobalKnownHostsFile": "none",
            "IdentitiesOnly": "yes",
            "IdentityFile": key,
            "KexAlgorithms": "curve25519-sha256",
            "LogLevel": "ERROR",
            "ServerAliveCountMax": "4",
            "ServerAliveInterval": "15",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": hosts,
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", "-T", *words, f"{self.handover.user}@{rank0.address}", command]

    def ask(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a short command in the guest beside the job."""
        return subprocess.run(
            self.argv(command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=SIDE_CALL_SECONDS, check=False,
        )  # fmt: skip


def read_line() -> str:
    """The line the MOM wrote: the script's path and arguments. Read bytewise: the rest is not ours.

    A terminal has none: an interactive job's user would be waited for.
    """
    line = bytearray()
    while not os.isatty(0) and (byte := os.read(0, 1)):
        line += byte
        if byte == b"\n":
            break
    return line.decode(errors="surrogateescape")


def build_entry(handover: HandOver, line: str, shell: str) -> Entry:
    """Collect what the guest needs to run the job as the MOM would have."""
    words = line.split(maxsplit=1)
    if not words:
        hint = "only the script of a batch job runs in guests"
        raise StateError("the MOM handed over no script", job=handover.job_id, hint=hint)
    script = Path(words[0])
    guests = {guest.name: guest.vcpus for guest in handover.guests}
    umask = os.umask(0)
    os.umask(umask)
    return Entry(
        job_slug=job_slug(handover.job_id),
        shell=shell,
        line=line,
        script_path=str(script),
        script=script.read_bytes(),
        nodefile_path=os.environ.get("PBS_NODEFILE", f"/tmp/nodefile.{job_slug(handover.job_id)}"),  # noqa: S108
        nodefile=vm_nodefile(guests),
        environment=job_environment(os.environ, guests),
        cwd=str(Path.cwd()),
        umask=umask,
    )


def run(arguments: Sequence[str]) -> int:
    """Run the job's script in the guests and return its exit status.

    :param arguments: the run directory, the user's shell, what else the task has.
    :raises TorqueVMError: it cannot be run, or its end is not known.
    """
    if len(arguments) < 2:
        raise StateError("the job starter was given no task", hint="only a MOM starts this program")
    handover = read_handover(arguments[0], os.environ.get("PBS_JOBID", ""))
    entry = build_entry(handover, read_line(), arguments[1])
    ssh = Ssh(handover)
    process = subprocess.Popen(ssh.argv("exec sh -s"), stdin=subprocess.PIPE, start_new_session=True)
    caught: list[int] = []

    def forward(number: int, _frame: object) -> None:
        caught.append(number)
        name = signal.Signals(number).name.removeprefix("SIG")
        with contextlib.suppress(OSError, subprocess.SubprocessError):  # the MOM's SIGKILL comes anyway
            ssh.ask(signal_command(entry.job_slug, name))

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, forward)
    process.communicate(entry_program(entry).encode(errors="surrogateescape"))
    status = final_status(ssh, entry.job_slug, process.returncode)
    if caught and caught[-1] in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}:
        signal.signal(caught[-1], signal.SIG_DFL)  # TORQUE tells a deleted job by the signal it died of
        os.kill(os.getpid(), caught[-1])
    return status


def final_status(ssh: Ssh, slug: str, code: int) -> int:
    """The job's exit status; ssh's own failure is told apart from a job that ended with 255.

    :param code: how ssh ended; negative when it was killed.
    :raises StateError: the connection to the guest broke and the job's end is not known.
    """
    if 0 <= code != SSH_FAILED:
        return code
    answer = ssh.ask(status_command(slug))
    if answer.returncode == 0 and answer.stdout.strip().isdigit():
        return int(answer.stdout)
    said = answer.stderr.strip().splitlines()
    raise StateError(
        "the connection to the first guest broke",
        job=ssh.handover.job_id,
        guest=ssh.handover.guests[0].name,
        hint=said[-1] if said else "see its console in the history",
    )


def main() -> int:
    """Entry of ``python -I -m nornir_torque_vm.hooks.job_starter RUN_DIR SHELL …``."""
    settle_stdio()
    try:
        return run(sys.argv[1:])
    except TorqueVMError as exc:
        say(str(exc))
        return RunExit.REFUSED if exc.blame is Blame.USER else RunExit.SITE
    except (OSError, subprocess.SubprocessError) as exc:
        say(f"the job could not be started in its guests: {exc}")
        return RunExit.SITE


if __name__ == "__main__":
    sys.exit(main())
