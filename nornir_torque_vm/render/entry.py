"""The program that runs a job's script inside its first guest. Pure text; values only through quoting."""

from __future__ import annotations

import base64
import dataclasses
import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

NOT_PASSED_ON = frozenset({"HOME", "SHELL", "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR"})
"""Variables that describe the node and would be wrong in the guest."""
GUEST_PATH = "/usr/local/bin:/usr/bin:/bin"
"""Appended to the job's PATH: the guest's own programs stay reachable."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """What the job starter knows about the job. ``line`` is what a MOM writes to the shell's stdin."""

    job_slug: str
    shell: str
    line: str
    script_path: str
    script: bytes
    nodefile_path: str
    nodefile: str
    environment: Mapping[str, str]
    cwd: str
    umask: int


_LAST_WORDS = """\
left=50
while [ $status -gt 128 ] && [ $left -gt 0 ] && kill -s 0 -$! 2>/dev/null; do
    sleep 0.1; left=$((left - 1))
done"""
"""A signal ends the shell at once; what it started may be in a trap, and its words still count."""


def folder(job_slug: str) -> str:
    """The directory inside the guest that holds the job's process id and exit status."""
    return f"/tmp/torque-vm-{job_slug}"  # noqa: S108 - in a guest that has one user and one job


def entry_program(entry: Entry) -> str:
    """POSIX shell text for ``sh -s``: puts the job's files in place, runs it, exits with its status.

    The job gets its own session, so that :func:`signal_command` reaches all of it, and an empty
    standard input, as under a MOM (TF 3: the pipe's one line is all there is).
    """
    home = shlex.quote(folder(entry.job_slug))
    lines = [
        f"umask 077; mkdir -p {home} || exit 125",
        *_file(entry.script_path, entry.script, 0o700),
        *_file(entry.nodefile_path, entry.nodefile.encode(), 0o644),
        *_file(f"{folder(entry.job_slug)}/line", entry.line.encode(), 0o600),
        *_exports(entry.environment),
        f"cd {shlex.quote(entry.cwd)} 2>/dev/null || cd || exit 125",
        f"umask {entry.umask:04o}",
        f'setsid sh -c \'echo $$ >"$1/pid"; exec "$2" -l <"$1/line"\' sh {home} {shlex.quote(entry.shell)} &',
        f"wait $! 2>/dev/null; status=$?; echo $status >{home}/status",
        _LAST_WORDS,
        "exit $status",
    ]
    return "\n".join(lines) + "\n"


def signal_command(job_slug: str, name: str) -> str:
    """Shell text that sends the signal ``name`` (``TERM``) to every process of the job."""
    return f"kill -s {shlex.quote(name)} -$(cat {shlex.quote(folder(job_slug))}/pid)"


def status_command(job_slug: str) -> str:
    """Shell text that prints the job's exit status, once there is one."""
    return f"cat {shlex.quote(folder(job_slug))}/status"


def vm_nodefile(guests: Mapping[str, int]) -> str:
    """The job's nodefile inside the guests: each guest's name once per virtual CPU, by rank.

    :param guests: guest name → vCPUs, in rank order.
    """
    return "".join(f"{name}\n" * vcpus for name, vcpus in guests.items())


def job_environment(environment: Mapping[str, str], guests: Mapping[str, int]) -> dict[str, str]:
    """The environment of the job inside the guests, from the one the MOM gave its starter."""
    given = {name: value for name, value in environment.items() if name not in NOT_PASSED_ON}
    given["PATH"] = ":".join(filter(None, [environment.get("PATH", ""), GUEST_PATH]))
    given["PBS_NP"] = str(sum(guests.values()))
    given["PBS_NUM_NODES"] = str(len(guests))
    given["PBS_NUM_PPN"] = str(next(iter(guests.values()), 0))
    return given


def _exports(environment: Mapping[str, str]) -> list[str]:
    """Export lines; names that no shell can hold are left out, as a login shell would lose them too."""
    return [
        f"export {name}={shlex.quote(value)}"
        for name, value in environment.items()
        if _NAME.fullmatch(name) and "\0" not in value
    ]


def _file(path: str, data: bytes, mode: int) -> list[str]:
    """Lines that write ``data`` to ``path``; base64, so that any byte survives."""
    text = base64.b64encode(data).decode()
    body = "\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    target = shlex.quote(path)
    return [
        f"mkdir -p {shlex.quote(str(PurePosixPath(path).parent))}",
        f"base64 -d >{target} <<'END_OF_FILE' || exit 125",
        *([body] if body else []),
        "END_OF_FILE",
        f"chmod {mode:04o} {target}",
    ]
