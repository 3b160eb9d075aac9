"""Telling the lab's pbs_server what it needs to know, and asking it for its nodes, with TORQUE's commands."""

from __future__ import annotations

from collections.abc import Iterable

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import health, inside
from nornir_torque_vm.lab.layout import LabPaths
from nornir_torque_vm.lab.record import Running
from nornir_torque_vm.lab.torque import LAST_COMMAND, Torque

ASK_SECONDS = 5.0
UNUSABLE = frozenset({"down", "unknown"})
"""States of a node whose MOM does not report; ``offline`` is different: an administrator wants it."""


def answers(head: Running, torque: Torque, seconds: float = ASK_SECONDS) -> bool:
    """Tell whether the server answers a user's question within ``seconds``."""
    return bool(_facts(head, torque, seconds))


def configured(head: Running, torque: Torque, seconds: float = ASK_SECONDS) -> bool:
    """Tell whether the server answers and knows all that :func:`configure` told it."""
    return LAST_COMMAND.removeprefix("set server ") in _facts(head, torque, seconds)


def _facts(head: Running, torque: Torque, seconds: float) -> str:
    try:
        return inside.run(head, [torque.program("qstat"), "-B", "-f"], seconds=seconds).stdout
    except LabError:
        return ""


def configure(paths: LabPaths, head: Running, torque: Torque, commands: str, deadline: Deadline) -> None:
    """Wait until a new server answers, then give it ``commands`` for qmgr.

    :raises LabError: it does not answer in time, or refuses one of them.
    """
    for _ in deadline.backoff():
        if answers(head, torque, deadline.clamp(ASK_SECONDS)):
            break
        health.check(paths, head)
    else:
        log = health.tail(paths, head.name, "pbs_server")
        raise LabError(f"pbs_server does not answer{log}", node=head.name)
    inside.run(head, [torque.program("qmgr"), "-a"], stdin=commands, seconds=deadline.clamp(ASK_SECONDS))


def node_states(head: Running, torque: Torque, seconds: float = ASK_SECONDS) -> dict[str, str]:
    """Return the state of every node as the server sees it, e.g. ``free`` or ``down,offline``.

    :raises LabError: the server does not answer.
    """
    listed = inside.run(head, [torque.program("pbsnodes"), "-l", "all"], seconds=seconds).stdout
    return parse_states(listed)


def parse_states(listed: str) -> dict[str, str]:
    """Return node → state from what ``pbsnodes -l all`` printed: a name, a state, perhaps a note."""
    rows = (line.split() for line in listed.splitlines())
    return {row[0]: row[1] for row in rows if len(row) > 1}


def usable(state: str) -> bool:
    """Tell whether a node in this state may get jobs, now or when others are done."""
    return not UNUSABLE & set(state.split(","))


def await_nodes(head: Running, torque: Torque, nodes: Iterable[str], deadline: Deadline) -> None:
    """Wait until the server may give jobs to all ``nodes``.

    :raises LabError: it may not in time; names the nodes and their states.
    """
    missing = dict.fromkeys(sorted(nodes), "unknown")
    for _ in deadline.backoff():
        states = node_states(head, torque, deadline.clamp(ASK_SECONDS))
        missing = {name: states.get(name, "unknown") for name in sorted(nodes)}
        missing = {name: state for name, state in missing.items() if not usable(state)}
        if not missing:
            return
    told = ", ".join(f"{name} is {state}" for name, state in missing.items())
    raise LabError(f"pbs_server cannot use all nodes: {told}", node=head.name)
