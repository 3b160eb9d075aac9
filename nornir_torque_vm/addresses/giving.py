"""Giving guests the addresses the site wants them to have, and noticing that another machine has them."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping, Sequence

from nornir_torque_vm.addresses import arp
from nornir_torque_vm.addresses.bridge import bridge_here
from nornir_torque_vm.addresses.conflicts import check_planned, judged
from nornir_torque_vm.addresses.script import asked
from nornir_torque_vm.addresses.static import computed
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.model import NodeFacts, Plan
from nornir_torque_vm.report import Report
from nornir_torque_vm.threads import Call

PATIENCE = 2.0
"""Seconds for which the answers are waited for at the end; asking takes a fraction of one."""


def addressed(
    plan: Plan, settings: Settings, facts: Mapping[str, NodeFacts], deadline: Deadline, unknown: str = ""
) -> Plan:
    """Return the plan with the guests' addresses, or as it is when DHCP gives them.

    :param facts: the survey's, by node.
    :param unknown: why the job's slots are not known, as ``hooks.slots`` says.
    :raises TorqueVMError: what :func:`~nornir_torque_vm.addresses.static.computed`,
        :func:`~nornir_torque_vm.addresses.script.asked` and
        :func:`~nornir_torque_vm.addresses.conflicts.check_planned` raise.
    """
    if not settings.static_ip_mapping:
        return plan
    plan = asked(plan, settings, deadline) if settings.ip_script else computed(plan, settings, unknown)
    planned = {guest.static.address for guest in plan.guests if guest.static}
    check_planned(plan, facts, heard(planned, plan, settings, deadline))
    return plan


class Listening:
    """Asks beside other work who is at the addresses of guests that run.

    :param addresses: guest name → address.
    """

    def __init__(
        self, plan: Plan, addresses: Mapping[str, str], settings: Settings, deadline: Deadline
    ) -> None:
        self._plan, self._addresses, self._deadline = plan, addresses, deadline
        wanted = {address for address in addresses.values() if address}
        self._call = Call(
            lambda: heard(wanted, plan, settings, deadline, arp.QUICK), name="listen at addresses"
        ).start()

    def report(self) -> Report:
        """The guests at whose addresses somebody else is; what was not heard by now does not count."""
        try:
            answers = self._call.wait(self._deadline.clamp(PATIENCE))
        except TimeoutError:
            self._call.abandon()
            answers = {}
        return judged(self._plan, self._addresses, answers)


def heard(
    addresses: Collection[str],
    plan: Plan,
    settings: Settings,
    deadline: Deadline,
    pauses: Sequence[float] = arp.PATIENT,
) -> dict[str, set[str]]:
    """Who is at these addresses of a plan's guests, as far as this node can hear: address → MAC addresses.

    Nobody, where there is no bridge to listen at: so it is on machines that only drive other nodes.
    """
    if not settings.check_addresses or is_test(settings.local_uri):
        return {}
    try:
        found = arp.who_has(bridge_here(plan, settings, deadline), addresses, deadline, pauses)
    except OSError:
        return {}
    for address in filter(_ours, addresses):
        found.setdefault(address, set()).add("of this node")
    return found


def _ours(address: str) -> bool:
    """Whether an address is this machine's own: its kernel does not answer itself."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((address, 0))
    except OSError:
        return False
    return True
