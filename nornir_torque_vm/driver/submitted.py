"""What the words that reach qsub tell the embedded driver. Pure.

The driver has no queue and no shell of the user's, so of qsub's options only those count that say which
job it is: ``-N``, ``-l``, ``-t``, ``-I`` and ``-F``, with the directives of the script as qsub reads them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence

from nornir_torque_vm.config.fields import show
from nornir_torque_vm.driver.batch import Submission
from nornir_torque_vm.errors import LabError, RequestError
from nornir_torque_vm.wrapper.directives import read_header
from nornir_torque_vm.wrapper.getopt import Option, read_words, scan_words
from nornir_torque_vm.wrapper.nodespec import NodeSpec, read_nodes
from nornir_torque_vm.wrapper.resourcelist import read_resources

WALLTIME = 3600
"""Seconds a job may run that asks for none, as the lab's queue has it."""

_WALLTIME = re.compile(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9})")
MAX_MEMBERS = 1000
"""A lab has no queue that could keep more."""
_MEMBERS = re.compile(r"(\d{1,6})(?:-(\d{1,6}))?")
_NOT_HERE = {"x": "commands of interactive jobs", "T": "job types"}


def submission_of(words: Sequence[str], script: bytes, hosts: Sequence[str]) -> Submission:
    """Return the job that qsub would submit.

    :param words: what comes to qsub; ``-T vm`` is taken for granted, other jobs have no hooks here.
    :param script: the text qsub reads, wherever it comes from; without requests for guests.
    :param hosts: the nodes there are; the job gets the first ones, whatever names it asks for.
    :raises LabError: it asks for more nodes than there are, or for what the driver has not.
    :raises RequestError: qsub would refuse it.
    """
    options = _options(words, script)
    given = {option.letter: option.value or "" for option in options}
    for letter, what in _NOT_HERE.items():
        if letter in given and (letter, given[letter]) != ("T", "vm"):
            raise LabError(f"the embedded driver has no {what}", hint=f"leave -{letter} away")
    resources = resources_of(options)
    spec = nodes_of(resources)
    if spec.nodes > len(hosts):
        raise LabError(f"the job asks for {spec.nodes} nodes, and the lab has {len(hosts)}")
    if len(set(spec.ppns)) > 1:
        raise LabError("the embedded driver gives each node as many slots", hint="write one ppn= for all")
    name = scan_words(words).script
    if "I" in given and "t" in given:
        raise RequestError("an interactive job cannot be an array", hint="leave -t away")
    array, limit = members_of(given["t"]) if "t" in given else ((), None)
    return Submission(
        script=script,
        name=given.get("N") or ("STDIN" if name is None else words[name].rpartition("/")[2]),
        hosts=tuple(hosts[: spec.nodes]),
        ppn=spec.ppns[0],
        resources=tuple(
            f"{key}={value}" for key, value in resources.items() if key not in {"nodes", "walltime"}
        ),
        arguments=tuple(shlex.split(given.get("F", ""))),
        walltime=seconds(resources["walltime"]) if "walltime" in resources else WALLTIME,
        interactive="I" in given,
        array=array,
        array_limit=limit,
    )


def resources_of(options: Iterable[Option]) -> dict[str, str]:
    """Return resource → value of all ``-l``; the last one counts.

    :raises RequestError: qsub would refuse one.
    """
    values = [option.value or "" for option in options if option.letter == "l"]
    resources = read_resources(values)
    if resources is None:
        raise RequestError(f"qsub would refuse -l {' -l '.join(map(show, values))}")
    return resources


def nodes_of(resources: dict[str, str]) -> NodeSpec:
    """Return the nodes that are asked for, one if none are.

    :raises RequestError: TORQUE would refuse them.
    """
    text = resources.get("nodes", "1")
    spec = read_nodes(text)
    if spec is None:
        raise RequestError(f"TORQUE would refuse nodes={show(text)}")
    return spec


def seconds(walltime: str) -> int:
    """Return a walltime, ``[[hours:]minutes:]seconds``, in seconds.

    :raises RequestError: it is none.
    """
    found = _WALLTIME.fullmatch(walltime)
    if not found:
        raise RequestError(f"walltime={show(walltime)} is no time", hint="write hours:minutes:seconds")
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return (hours * 60 + minutes) * 60 + rest


def members_of(text: str) -> tuple[tuple[int, ...], int | None]:
    """Read ``qsub -t``: ``0-3,7%2`` are the members 0 to 3 and 7, at most two of them at the same time.

    :raises RequestError: it is no such text, or too many.
    """
    parts, percent, limit = text.partition("%")
    found = [_MEMBERS.fullmatch(part) for part in parts.split(",")]
    if not all(found) or (percent and not (limit.isdigit() and int(limit))):
        raise RequestError(f"-t {show(text)} names no members of an array", hint="write such as 0-3,7%2")
    ranges = [(int(one[1]), int(one[2] or one[1])) for one in found if one]
    if sum(max(last - first, 0) + 1 for first, last in ranges) > MAX_MEMBERS:
        raise RequestError(f"-t {show(text)} are more than {MAX_MEMBERS} members")
    members = sorted({index for first, last in ranges for index in range(first, last + 1)})
    if not members:
        raise RequestError(f"-t {show(text)} names no members of an array", hint="write such as 0-3,7%2")
    return tuple(members), int(limit) if limit else None


def _options(words: Sequence[str], script: bytes) -> list[Option]:
    """The options of the script and those of the command line, in the order in which they count.

    :raises RequestError: qsub would object to one.
    """
    prefix = scan_words(words).prefix
    command, header = read_words(words), read_header(script, "#PBS" if prefix is None else prefix)
    faults = [header.fault, *(one.command.fault for one in header.directives), command.fault]
    if any(faults):
        raise RequestError(next(filter(None, faults)))
    return [*header.options, *command.options]
