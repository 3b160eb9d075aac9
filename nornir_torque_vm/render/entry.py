"""The programs that run a job's tasks inside its guests. Pure text; values only through quoting.

A program is POSIX shell text, in two forms. :func:`entry_program` is read by ``sh -s`` from its standard
input and gives the task an input of its own. :func:`connected_program` is for tasks whose input is ssh's, a
terminal or a connection that somebody writes to; it is uploaded before. Never does a program travel in an
argument of ssh, where everybody on the node could read the job's environment.

A guest may be emulated, where every process that is started counts: what the shell can do by itself it does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from shlex import quote
from typing import NamedTuple

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ODD_BYTE = re.compile(rb"[^ -\[\]-~\n\t]")

NOT_PASSED_ON = frozenset({"HOME", "SHELL", "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR"})
"""Variables that describe the node and would be wrong in the guest."""
GUEST_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Appended to the job's PATH: the guest's own programs stay reachable."""
HOSTFILES = ("OMPI_MCA_orte_default_hostfile", "PRTE_MCA_prte_default_hostfile")
"""By which Open MPI (up to 4, and from 5) finds the nodefile; others look for PBS_NODEFILE themselves."""
STANDARD_GUEST = "SLG"
"""What ``DISTRO`` tells a job in a guest of Debian's or Red Hat's family: vTorque's name for it."""
_SSHD = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_PUBKEYINFO", "SSH_ORIGINAL_COMMAND")
"""What a guest's sshd adds to the environment, and no job on a node has."""
_OF_DISPLAY = ("DISPLAY", "XAUTHORITY")

_DISPLAY = re.compile(r"localhost:([0-9]{1,4})\.[0-9]+")
_FIRST_DISPLAY = 50
"""Of those that a MOM forwards (``X11OFFSET`` in TORQUE's ``port_forwarding.h``); sshd's begin at 10."""

NEVER_SEEN = 4
"""Exit status of :func:`status_command` for a task that the guest does not know."""
PATIENCE = 600
"""Tenths of a second for which a signal waits for its task."""


class File(NamedTuple):
    """A file the task needs in the guest."""

    path: str
    data: bytes
    mode: int
    """``0o7..`` for one that is executed; else only 0o600 and 0o644 are told apart."""


class Entry(NamedTuple):
    """A task as a guest has to run it."""

    place: str
    """Beginning of the paths of what the task leaves in the guest, see :func:`place`."""
    argv: Sequence[str]
    """Program and arguments."""
    login: bool
    """Whether ``argv`` is a shell that reads its login files."""
    stdin: bytes | None
    """What the task reads; None: nothing, ``/dev/null``."""
    files: Sequence[File]
    environment: Mapping[str, str]
    cwd: str
    umask: int
    x11: bool = False
    """Whether ssh forwards X11, so that ``DISPLAY`` is the guest's own; needs a connection."""


_AS_ONE = """\
read -r task <{place}.pid
out=/proc/$$/fd/1; [ -p $out ] || [ -S $out ] || out=/dev/null/none
err=/proc/$$/fd/4; [ -p $err ] || [ -S $err ] || err=/dev/null/none
rest() {{
    signal=$1 there=1
    for other in /proc/[0-9]*; do
        [ $other != /proc/$$ ] && read -r stat <$other/stat || continue
        set -- ${{stat##*) }}
        if [ $4 = $task ] || [ $other/fd/1 -ef $out ] || [ $other/fd/2 -ef $err ]; then
            kill -s $signal ${{other#/proc/}} && there=0
        fi
    done
    return $there
}}
left=50
while [ $status -gt 128 ] && [ $left -gt 0 ] && rest 0; do sleep 0.1; left=$((left - 1)); done
rest KILL
exit $status"""
"""A signal ends the shell at once; what it started may be in a trap, and its words still count. Then the rest
of the session is ended, as a MOM does it, and whatever would keep ssh waiting by holding the task's output:
if that is a pipe, it is this connection's alone."""

_NO_DISPLAY = """\
[ "$DISPLAY" ] || echo "torque-vm: no X11 here: the guest's sshd does not allow it, or finds no xauth" >&2"""


def place(job_slug: str, task: str) -> str:
    """Where the process id, the exit status and the input of a task are kept in the guest.

    :param task: tells the job's tasks apart that may be in one guest.
    """
    return f"/tmp/torque-vm-{job_slug}-{task}"  # noqa: S108 - in a guest that has one user and one job


def entry_program(entry: Entry) -> str:
    """Text for ``sh -s``: puts files in place, runs the task in its own session, exits with its status."""
    at = quote(entry.place)
    source = "/dev/null"
    files = list(entry.files)
    if entry.stdin is not None:
        source = f"{at}.in"
        files.append(File(f"{entry.place}.in", entry.stdin, 0o600))
    lines = [
        *_prepare(entry, files),
        # The shell's own words about a task that died of a signal are not the task's. In a subshell, since
        # dash redirects its own stderr for a plain command.
        "exec 4>&2 2>/dev/null",
        # The subshell becomes the task: its process id is the session's.
        f"(read -r task stat </proc/self/stat; echo $task >{at}.pid; exec setsid {_command(entry)}) \\",
        f"    <{source} 2>&4 4>&-",
        f"status=$?; echo $status >{at}.status",
        _AS_ONE.format(place=at),
    ]
    return "\n".join(lines) + "\n"


def connected_program(entry: Entry) -> str:
    """Text of a file: as :func:`entry_program`, in the session and with the input that ssh gives it."""
    at = quote(entry.place)
    lines = [
        *_prepare(entry, entry.files),
        *([_NO_DISPLAY] if entry.x11 else []),
        "trap : INT QUIT TERM HUP",
        f"echo $$ >{at}.pid",
        _command(entry),
        f"status=$?; echo $status >{at}.status",
        "exit $status",
    ]
    return "\n".join(lines) + "\n"


def has_x11(environment: Mapping[str, str]) -> bool:
    """Whether a MOM forwards X11 to this task: an interactive job's shell, after ``qsub -X``."""
    found = _DISPLAY.fullmatch(environment.get("DISPLAY", ""))
    return found is not None and int(found[1]) >= _FIRST_DISPLAY


def upload_command(at: str) -> str:
    """Shell text that keeps its input as a program, prints a line, and ends when the program runs."""
    return _sh(
        f"umask 077; cat >{at}.sh && echo ready; "
        f"left=100; until [ -s {at}.pid ] || [ $left = 0 ]; do sleep 0.1; left=$((left - 1)); done"
    )


def uploaded_command(at: str) -> str:
    """Shell text that runs a program that was uploaded."""
    return f"exec sh {quote(at)}.sh"


def signal_command(at: str, name: str) -> str:
    """Shell text that sends ``name`` (``TERM``) to every process of the task's session, as a MOM does.

    A task that is still on its way into the guest is waited for, so that no signal is lost.
    """
    return _sh(
        f"left={PATIENCE} found=; until [ $found ] || [ $left = 0 ]; do "
        f"[ -s {at}.pid ] && read -r task <{at}.pid && "
        "for other in /proc/[0-9]*; do read -r stat <$other/stat || continue; set -- ${stat##*) }; "
        f"if [ $4 = $task ]; then kill -s {name} ${{other#/proc/}} && found=yes; fi; done; "
        "[ $found ] || sleep 0.1; left=$((left - 1)); done"
    )


def status_command(at: str) -> str:
    """Shell text that prints the task's exit status, once there is one.

    It ends with :data:`NEVER_SEEN` where the task was never begun: in a guest that has started anew.
    """
    return _sh(f"cat {at}.status 2>/dev/null && exit; [ -e {at}.pid ] && exit 1; exit {NEVER_SEEN}")


def vm_nodefile(guests: Mapping[str, int]) -> str:
    """The job's nodefile inside the guests: each guest's name once per virtual CPU, by rank.

    :param guests: guest name → vCPUs, in rank order.
    """
    return "".join(f"{name}\n" * vcpus for name, vcpus in guests.items())


def job_environment(environment: Mapping[str, str], guests: Mapping[str, int]) -> dict[str, str]:
    """The environment of the job inside the guests, from the one the MOM gave its starter."""
    given = {name: value for name, value in environment.items() if name not in NOT_PASSED_ON}
    given["PATH"] = ":".join(filter(None, [environment.get("PATH", ""), GUEST_PATH]))
    given["DISTRO"] = STANDARD_GUEST
    given["PBS_NP"] = str(sum(guests.values()))
    given["PBS_NUM_NODES"] = str(len(guests))
    given["PBS_NUM_PPN"] = str(next(iter(guests.values()), 0))
    if nodefile := given.get("PBS_NODEFILE"):
        given = {**dict.fromkeys(HOSTFILES, nodefile), **given}
    return given


def _sh(text: str) -> str:
    """A line that a user's login shell, csh too, hands to ``sh``."""
    return f"exec sh -c {quote(text)}"


def _prepare(entry: Entry, files: Sequence[File]) -> list[str]:
    """Lines that put files, environment, directory and umask in place."""
    return [
        *(line for file in files for line in _file(file)),
        f"unset {' '.join(_SSHD)}",
        *(
            f"export {name}={quote(value)}"
            for name, value in entry.environment.items()
            if _NAME.fullmatch(name) and not (entry.x11 and name in _OF_DISPLAY)
        ),
        f"cd {quote(entry.cwd)} 2>/dev/null || cd || exit 125",
        f"umask {entry.umask:04o}",
    ]


def _command(entry: Entry) -> str:
    """The words that run the task, with the variables that no shell can set, such as bash's functions."""
    odd = [f"{name}={value}" for name, value in entry.environment.items() if not _NAME.fullmatch(name)]
    words = [
        *(["env", *odd] if odd else []),
        entry.argv[0],
        *(["-l"] if entry.login else []),
        *entry.argv[1:],
    ]
    return " ".join(map(quote, words))


def _file(file: File) -> list[str]:
    """Lines that write a file whose bytes may be any, with what the shell has itself."""
    folder, target = quote(file.path.rpartition("/")[0]), quote(file.path)
    return [
        "umask 022" if file.mode & 0o044 else "umask 077",
        f"[ -d {folder} ] || mkdir -p {folder}",
        f"printf %b {quote(_escaped(file.data))} >{target} || exit 125",
        *([f"[ -x {target} ] || chmod {file.mode:04o} {target} || exit 125"] if file.mode & 0o100 else []),
    ]


def _escaped(data: bytes) -> str:
    """Text from which ``printf %b`` makes ``data``."""
    return _ODD_BYTE.sub(lambda found: b"\\0%03o" % found[0][0], data).decode("ascii")
