"""What a server has to know of nodes with guests, as lines for qmgr; those that it knows are left out."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

from nornir_torque_vm.errors import InstallError

KEEP_COMPLETED = 300
"""Seconds for which the server can tell of a job that is over, where it could not at all."""
SECONDS = 30.0
_PLACES = ("/opt/torque/bin", "/usr/local/bin", "/usr/bin", "/usr/local/torque/bin", "/opt/torque/sbin")


@dataclasses.dataclass(frozen=True, slots=True)
class Knows:
    """What a server knows already: properties by node, operators, seconds it keeps completed jobs."""

    nodes: Mapping[str, frozenset[str]]
    operators: frozenset[str] = frozenset()
    keep_completed: int = 0


def lines(nodes: Sequence[str], node_property: str, knows: Knows) -> tuple[str, ...]:
    """Return the lines for qmgr that are missing.

    :param node_property: what VM jobs ask for; "" for none.
    :raises InstallError: the server has no such node.
    """
    unknown = [node for node in nodes if node not in knows.nodes]
    if unknown:
        raise InstallError(
            f"the server has no node {', '.join(unknown)}", hint="name nodes as pbsnodes does, or create them"
        )
    found = [
        f"set node {node} properties += {node_property}"
        for node in nodes
        if node_property and node_property not in knows.nodes[node]
    ]
    found += [
        f"set server operators += root@{node}"
        for node in nodes
        if not knows.operators & {f"root@{node}", "root@*"}
    ]
    if knows.keep_completed <= 0:
        found.append(f"set server keep_completed = {KEEP_COMPLETED}")
    return tuple(found)


def read_server(printed: str, nodes_xml: str) -> Knows:
    """Return what a server knows.

    :param printed: what ``qmgr -c 'print server'`` said; ``nodes_xml``: what ``pbsnodes -x`` said.
    :raises InstallError: the latter is not what TORQUE writes.
    """
    stated = re.findall(r"^set server (\w+) (?:\+=|=) (.*)$", printed, re.MULTILINE)
    granted = {
        name.strip() for key, value in stated if key in {"operators", "managers"} for name in value.split(",")
    }
    keep = [int(value) for key, value in stated if key == "keep_completed" and value.strip().isdigit()]
    try:
        root = ET.fromstring(nodes_xml or "<Data/>")  # noqa: S314 - our own server's
    except ET.ParseError as error:
        raise InstallError(f"pbsnodes -x did not answer in XML: {error}") from None
    nodes = {
        node.findtext("name", ""): frozenset(node.findtext("properties", "").split(","))
        for node in root.iter("Node")
    }
    return Knows(nodes, frozenset(granted), keep[-1] if keep else 0)


def ask_server() -> Knows:
    """Return what the server of this host knows.

    :raises InstallError: TORQUE's commands are missing or fail.
    """
    return read_server(_run("qmgr", "-c", "print server"), _run("pbsnodes", "-x"))


def apply(line: str) -> None:
    """Have qmgr carry out one line.

    :raises InstallError: the server refuses.
    """
    _run("qmgr", "-a", "-c", line)


def _run(program: str, *words: str) -> str:
    path = shutil.which(program) or shutil.which(program, path=":".join(_PLACES))
    if path is None:
        raise InstallError(
            f"{program} was not found", hint="run this where TORQUE's commands are on the PATH"
        )
    try:
        done = subprocess.run(
            [path, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InstallError(f"{program} could not be run: {error}") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it did not say why").splitlines()[-1]
        raise InstallError(
            f"{program} {words[-1]} failed: {said}", hint="is the server up, and this root a manager of it?"
        )
    return done.stdout
