"""The shell lines that put a script into a guest and run it there. Pure text; values only through quoting."""

from __future__ import annotations

from collections.abc import Mapping

from nornir_torque_vm.guestscripts.script import Kind
from nornir_torque_vm.model import Guest, Owner, Plan
from nornir_torque_vm.render.encode import word

FOLDER = "/var/lib/torque-vm"
"""Where scripts lie in a guest: not in /run, which may be mounted noexec."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KILL_AFTER = 5
"""Seconds from SIGTERM to SIGKILL for a script that is over its limit."""


def environment(plan: Plan, guest: Guest, kind: Kind) -> dict[str, str]:
    """All variables a script finds, beside those that say who runs it.

    ``VM_RANK`` and ``VM_COUNT`` count the guests of the job, ``PBS_VMS_PN`` those of a node: the earlier
    system's name.
    """
    return {
        "PBS_JOBID": plan.job.id,
        "PBS_VMS_PN": str(len(plan.on(guest.node))),
        "VM_COUNT": str(len(plan.guests)),
        "VM_NAME": guest.name,
        "VM_NODE": guest.node,
        "VM_RANK": str(guest.rank),
        "VM_SCRIPT": str(kind),
        "VM_USER": plan.job.owner.name,
    }


def put_command(kind: Kind, owner: Owner) -> str:
    """Return the command by which root keeps its input as the script's file, for who will run it alone."""
    file = f"{FOLDER}/{kind}"
    reader = "0:0" if kind.as_root else f"{owner.uid}:{owner.gid}"
    return _sh(
        f"umask 022; mkdir -p {FOLDER} && rm -f {file} && umask 077 && cat >{file} "
        f"&& chown {reader} {file} && chmod 500 {file}"
    )


def run_command(kind: Kind, owner: Owner, variables: Mapping[str, str], seconds: int) -> str:
    """Return the command by which root has the script run, in its runner's home, with nothing to read.

    The limit is kept by a process of the runner's: root's ``su`` would leave the script's children behind.

    :param variables: all that the script finds, beside ``PATH`` and its runner's own.
    :param seconds: after which it is ended.
    :raises RequestError: a value no shell can hold.
    """
    run = f"cd 2>/dev/null || cd /; exec timeout -k {KILL_AFTER} {seconds} {FOLDER}/{kind}"
    values = {**variables, "PATH": PATH}
    if kind.as_root:
        values |= {"HOME": "/root", "LOGNAME": "root", "SHELL": "/bin/sh", "USER": "root"}
        words = ["sh", "-c", run]
    else:
        values |= {"HOME": owner.home, "LOGNAME": owner.name, "SHELL": owner.shell, "USER": owner.name}
        words = ["su", "-s", "/bin/sh", owner.name, "-c", run]
    assigned = [f"{name}={value}" for name, value in sorted(values.items())]
    return _sh(f"umask 022; exec env -i {' '.join(map(word, [*assigned, *words]))} </dev/null")


def _sh(text: str) -> str:
    """A line that root's login shell, whatever it is, hands to ``sh``."""
    return f"exec sh -c {word(text)}"
