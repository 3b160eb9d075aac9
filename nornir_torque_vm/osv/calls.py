"""What OSv's REST interface is asked, what its answers mean, and which scripts can be run by it. Pure.

The interface is that of OSv's module ``httpserver-api``, as its own listings describe it
(``api-doc/listings/{app,env,file,os}.json``): values travel in the query, answers are JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from nornir_torque_vm.errors import RequestError

PORT = 8000
"""Where the interface listens unless an image was made otherwise."""
NODEFILE = "/pbs_nodefile"
"""The job's nodefile in the guest; ``PBS_NODEFILE`` says so."""
LONGEST_LINE = 4000
"""Characters of a command: the rest of the request has to fit into one packet or two as well."""
_NAME = re.compile(r"PBS_[A-Z0-9_]+")
_SECRET = frozenset({"PBS_JOBCOOKIE"})
"""Not for a guest whose variables anybody on its network can ask for."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_SHELL = re.compile(r"&&|[;|<>`$(){}'\\\"]|&!")
"""What means something to a shell, and nothing or another thing to OSv."""


class Call(NamedTuple):
    """One request. ``query`` is not encoded yet."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()

    @property
    def target(self) -> str:
        """Path and query as they are sent: no value can end early, or become another parameter."""
        path = quote(self.path)
        return f"{path}?{urlencode(self.query, quote_via=quote, safe='')}" if self.query else path


VERSION = Call("GET", "/os/version")
"""Answered as soon as the guest can run anything."""
SHUT_DOWN = Call("POST", "/os/shutdown")
"""Ends the guest and all it runs."""


def set_variable(name: str, value: str) -> Call:
    """Set a variable of the environment that programs started later have."""
    return Call("POST", f"/env/{name}", (("val", value),))


def write_file(path: str, text: str) -> Call:
    """Write a file, in place of what was there."""
    return Call("PUT", f"/file{path}", (("op", "WRITE"), ("overwrite", "true"), ("content", text)))


def run(command: str) -> Call:
    """Start a command line, each of its programs with libraries of its own; the answer tells the threads."""
    return Call("PUT", "/app/", (("command", command), ("new_program", "true")))


def finished(thread: int) -> Call:
    """Ask whether the program with this main thread has ended."""
    return Call("GET", "/app/finished", (("tid", str(thread)),))


def text_of(answer: bytes) -> str:
    """The text in an answer: JSON, or as it is where the server sends it bare."""
    text = answer.decode(errors="replace").strip()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, str) else text


def threads_of(answer: bytes) -> tuple[int, ...]:
    """The main threads of the programs that were started.

    :raises ValueError: it tells none.
    """
    words = text_of(answer).split()
    if not words or not all(word.isdecimal() for word in words):
        raise ValueError(f"it answered {text_of(answer)[:80]!r} where thread numbers are wanted")
    return tuple(int(word) for word in words)


def is_finished(answer: bytes) -> bool:
    """Whether a program has ended.

    :raises ValueError: it does not say: nothing else counts as an end.
    """
    said = text_of(answer)
    if said not in {"0", "1"}:
        raise ValueError(f"it answered {said[:80]!r} where 0 or 1 is wanted")
    return said == "1"


def commands_of(script: bytes) -> tuple[str, ...]:
    """The command lines of a job's script: all lines but empty ones and those that begin with ``#``.

    :raises RequestError: there is none, or a line that needs a shell; it says which.
    """
    commands = []
    for number, line in enumerate(script.decode(errors="replace").splitlines(), start=1):
        command = line.strip()
        if not command or command.startswith("#"):
            continue
        foreign = _SHELL.search(_QUOTED.sub("", command))
        if foreign or not command.isprintable() or len(command) > LONGEST_LINE:
            what = f"{foreign[0]} is a shell's" if foreign else "it is too long, or no plain text"
            raise RequestError(
                f"line {number} of the script cannot be run by OSv: {what}",
                hint="write one OSv command a line: a program with its arguments, others after &",
            )
        commands.append(command)
    if not commands:
        raise RequestError("the script has no command for OSv", hint="write one OSv command a line")
    return tuple(commands)


def environment_of(environment: Mapping[str, str], guests: Mapping[str, int]) -> dict[str, str]:
    """The variables of the job's command: those of TORQUE, and ``DISTRO``.

    :param environment: what the MOM gave its starter.
    :param guests: address of each guest → its virtual processors, by rank.
    """
    given = {
        name: value
        for name, value in environment.items()
        if _NAME.fullmatch(name) and name not in _SECRET and value.isprintable()
    }
    return {
        **given,
        "PBS_NP": str(sum(guests.values())),
        "PBS_NUM_NODES": str(len(guests)),
        "PBS_NUM_PPN": str(next(iter(guests.values()), 0)),
        "PBS_NODEFILE": NODEFILE,
        "DISTRO": "OSV",
    }
