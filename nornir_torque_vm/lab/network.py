"""Bridges and cables between the hosts of a lab; none of it ever exists outside of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping

from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import LabError
from nornir_torque_vm.lab import health
from nornir_torque_vm.lab.layout import (
    SWITCH,
    SWITCH_NODE,
    LabNode,
    LabPaths,
    bridge_commands,
    cable_commands,
    port_commands,
)
from nornir_torque_vm.lab.record import Running
from nornir_torque_vm.lab.spec import ENVIRONMENT

COMMAND_SECONDS = 10.0


def lay_network(
    paths: LabPaths,
    nodes: Mapping[str, LabNode],
    hosts: Mapping[str, Running],
    fresh: set[str],
    deadline: Deadline,
) -> None:
    """Make the bridges of the ``fresh`` hosts and the cables of all nodes that have none.

    :raises LabError: the kernel refuses, or a host has ended.
    """
    for name in fresh:
        _ip(hosts[name], bridge_commands(SWITCH_NODE if name == SWITCH else nodes[name]), name)
    for name, node in nodes.items():
        if name in fresh or not health.wired(node, hosts[name], hosts[SWITCH]):
            _lay_cable(paths, node, hosts[name], hosts[SWITCH], deadline)


def _lay_cable(paths: LabPaths, node: LabNode, host: Running, switch: Running, deadline: Deadline) -> None:
    """Repeats, because the end of a dead node's cable stays in the switch until the kernel has tidied up."""
    error: LabError | None = None
    for _ in deadline.backoff():
        try:
            _ip(host, cable_commands(node, switch.init), node.name)
            _ip(switch, port_commands(node), SWITCH)
        except LabError as exc:
            error = exc
        else:
            return
        health.check(paths, host)
        health.check(paths, switch)
        _ip(host, "link del eth0\n", node.name, check=False)
        _ip(switch, f"link del {node.name}\n", SWITCH, check=False)
    raise error or LabError("no time left to lay its cable", node=node.name)


def _ip(host: Running, commands: str, name: str, *, check: bool = True) -> None:
    try:
        done = subprocess.run(
            [*host.enter_network(), "/usr/sbin/ip", "-batch", "-"],
            input=commands,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"its network was not made within {COMMAND_SECONDS:g} s", node=name) from None
    if check and done.returncode:
        message = " ".join(done.stderr.split()) or f"code {done.returncode}"
        raise LabError(f"its network cannot be made: ip: {message}", node=name)
