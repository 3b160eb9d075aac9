"""Looking at the running guests of a plan, for components that verify what they did."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Any

from nornir.core.task import Task

from nornir_torque_vm.connections.libvirt import mapped
from nornir_torque_vm.inventory.hostdata import node_of
from nornir_torque_vm.model import Guest
from nornir_torque_vm.tasks.common import connection


def domains_of(task: Task, guests: Iterable[Guest]) -> Iterator[tuple[Guest, Any]]:
    """Yield guests of the task's node with their ``virDomain``.

    :raises HypervisorError: one does not run, or libvirt refuses.
    """
    for guest in guests:
        with mapped(node_of(task.host)):
            domain = connection(task).lookupByName(guest.domain)
        yield guest, domain


def descriptions_of(task: Task, guests: Iterable[Guest]) -> Iterator[tuple[Guest, ET.Element]]:
    """Yield guests of the task's node with the XML of the running domain.

    :raises HypervisorError: one does not run, or libvirt refuses.
    """
    for guest, domain in domains_of(task, guests):
        with mapped(node_of(task.host)):
            text = domain.XMLDesc(0)
        yield guest, ET.fromstring(text)  # noqa: S314 - from the node's own libvirtd
