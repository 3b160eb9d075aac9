"""Giving back the leases of guests that are gone, in their names, from the bridge of the node we are on.

Best effort, as the protocol is: a server does not confirm a release. It is sent twice, over the Ethernet of
this node's bridge; guests on another one keep their leases until these end.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from nornir_torque_vm.addresses import dhcp, wire
from nornir_torque_vm.addresses.bridge import bridge_of
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.runstate.jobstate import JobState

PATIENCE = (0.2, 0.3, 0.5)
"""Seconds that offers are waited for after each asking; the first is enough where there is a server."""
MOST = 256
"""Guests whose leases are given back at a time: each costs a server some work."""


def release_leases(
    leases: Mapping[str, str], settings: Settings, deadline: Deadline, bridge: str = ""
) -> str:
    """Give back the leases of guests that are gone.

    A server is found by asking for offers to one of them, or to each whose address is not known: to who
    has a lease it offers that address.

    :param leases: MAC address → address, empty when it is not known.
    :param bridge: of the guests; empty: that of the settings.
    :returns: why it could not be done, a clause; empty when it was, or the settings do not want it.
    """
    if not leases or not settings.release_leases or is_test(settings.local_uri):
        return ""
    try:
        with wire.Wire(bridge or settings.bridge, wire.IP) as line:
            return _release(line, dict(list(leases.items())[:MOST]), deadline)
    except OSError as error:
        return f"leases not given back: {bridge or settings.bridge}: {error.strerror or error}"


def given_back(state: JobState | None, settings: Settings, deadline: Deadline) -> list[str]:
    """Give back the leases of a job's guests, as far as its state tells them; return why not, in clauses.

    :raises StateError: the state cannot be read.
    """
    plan = None if state is None else state.plan()
    if state is None or plan is None:
        return []
    addresses = state.addresses()
    leases = {guest.mac: addresses.get(guest.name, "") for guest in plan.guests if guest.static is None}
    return [why] if (why := release_leases(leases, settings, deadline, bridge_of(plan, settings))) else []


def _release(line: wire.Wire, leases: Mapping[str, str], deadline: Deadline) -> str:
    known = [mac for mac, address in leases.items() if address]
    unknown = [mac for mac, address in leases.items() if not address]
    offers = _offers(line, [*known[:1], *unknown], deadline)
    if not offers:
        return "leases not given back: no DHCP server answers"
    server = next(iter(offers.values()))
    for _ in range(2):
        for mac, address in leases.items():
            own = offers.get(mac)
            if here := address or (own.address if own else ""):
                line.send(dhcp.release(line.mac, mac, here, own or server, secrets.randbits(32)))
    return ""


def _offers(line: wire.Wire, asked: Sequence[str], deadline: Deadline) -> dict[str, dhcp.Offer]:
    """MAC address → the first offer to it, for those that got one."""
    numbers = {secrets.randbits(32): mac for mac in asked}
    offers: dict[str, dhcp.Offer] = {}
    for seconds in PATIENCE:
        for number, mac in numbers.items():
            if mac not in offers:
                line.send(dhcp.discover(line.mac, mac, number))
        for frame in line.frames(deadline.clamp(seconds)):
            offer = dhcp.parse_offer(frame)
            if offer is not None and offer.number in numbers:
                offers.setdefault(numbers[offer.number], offer)
            if len(offers) == len(numbers):
                return offers
    return offers
