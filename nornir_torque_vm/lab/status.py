"""How the nodes of a lab are, asked all at once."""

from __future__ import annotations

import contextlib
import dataclasses

from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import health, pbs_server
from nornir_torque_vm.lab.layout import HEAD, lab_nodes
from nornir_torque_vm.lab.record import LabRecord
from nornir_torque_vm.lab.torque import Torque


@dataclasses.dataclass(frozen=True, slots=True)
class NodeStatus:
    """What ``status`` tells of a node. ``error`` is empty when its libvirtd answers.

    ``torque`` is the node's state in pbs_server's words; empty in a lab without a TORQUE.
    """

    name: str
    address: str
    guests: tuple[str, ...] = ()
    error: str = ""
    torque: str = ""

    @property
    def ok(self) -> bool:
        """Whether the node's libvirtd answers, and pbs_server, if there is one, can use the node."""
        return not self.error and pbs_server.usable(self.torque)


def node_status(found: LabRecord) -> list[NodeStatus]:
    """Ask the nodes of a lab, and its pbs_server for them; no nodes when the lab is down."""
    nodes = lab_nodes(len(found.nodes)) if found.nodes else ()
    alive = [host for node in nodes if (host := found.living(node.name))]
    answers = {host.name: answer for host, answer in zip(alive, health.ask(alive), strict=True)}
    gone = health.Answer(error="the node is gone")
    states = _torque_states(found)
    return [
        NodeStatus(node.name, node.address, answer.guests, answer.error, states.get(node.name, ""))
        for node in nodes
        for answer in [answers.get(node.name, gone)]
    ]


def _torque_states(found: LabRecord) -> dict[str, str]:
    """What pbs_server says of the nodes; nothing without a TORQUE."""
    if not found.torque:
        return {}
    states = dict.fromkeys(found.nodes, "unknown")
    head = found.living(HEAD)
    if head is not None:
        with contextlib.suppress(LabError):
            states |= pbs_server.node_states(head, Torque(found.torque))
    return states
