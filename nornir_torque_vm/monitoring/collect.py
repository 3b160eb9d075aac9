"""Asks this node's libvirt for the figures of all guests of ours."""

from __future__ import annotations

from nornir.core.task import Result, Task

from nornir_torque_vm.engine import Engine
from nornir_torque_vm.found import DOMAIN_PREFIX
from nornir_torque_vm.gueststats import GuestStats
from nornir_torque_vm.inventory.build import node_inventory
from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.model import Node
from nornir_torque_vm.render.metadata import GuestRecord
from nornir_torque_vm.tasks.common import LIBVIRT, connection
from nornir_torque_vm.tasks.guest_stats import stats_of

CONNECTION_NAME = LIBVIRT


def all_guest_stats(task: Task) -> Result:
    """Ask a node's libvirt what all guests of ours there have used, in one question.

    Returns:
        Result object with the following attributes set:
          * result (list of record and :class:`~nornir_torque_vm.gueststats.GuestStats`): by job and rank

    Raises:
        HypervisorError: libvirt refuses or cannot be reached
    """
    node = node_of(task.host)
    found = stats_of(connection(task), node, DOMAIN_PREFIX, lambda _: True)
    found.sort(key=lambda pair: (pair[0].job_id, pair[0].attempt, pair[0].rank))
    return Result(host=task.host, result=found)


def guests_here(engine: Engine, node: str) -> list[tuple[GuestRecord, GuestStats]]:
    """The figures of the guests on this node.

    :raises HypervisorError: its libvirt does not tell.
    """
    inventory = node_inventory([Node(node)], engine.settings, here=node)
    outcome = engine.run(inventory, all_guest_stats)[node]
    if outcome[0].exception is not None:
        raise outcome[0].exception
    found: list[tuple[GuestRecord, GuestStats]] = outcome[0].result
    return found
