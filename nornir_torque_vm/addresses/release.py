"""Giving back the leases of guests that are gone, in their names, from the bridge of the node we are on.

Best effort, as the protocol is: a server does not confirm a release. It is sent twice, over the Ethernet of
this node's bridge; guests on another one keep their leases until these end.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Collection, Mapping, Sequence

from nornir_torque_vm.addresses import arp, dhcp, wire
from nornir_torque_vm.addresses.bridge import bridge_here
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.model import Plan
from nornir_torque_vm.runstate.jobstate import JobState

PATIENCE = (0.2, 0.3, 0.5)
"""Seconds that offers are waited for after each asking; the first is enough where there is a server."""
MOST = 256
"""Guests whose leases are given back at a time: each costs a server some work."""


def release_leases(
    leases: Mapping[str, str],
    bridge: str,
    settings: Settings,
    deadline: Deadline,
    unsure: Collection[str] = (),
) -> str:
    """Give back the leases of guests that are gone.

    A server is found by asking for offers to one of them, or to each whose address is not known: to who
    has a lease it offers that address.

    :param leases: MAC address → address, empty when it is not known.
    :param bridge: that the guests were on, of this node.
    :param unsure: MAC addresses of those that may still run elsewhere: who answers keeps its lease.
    :returns: why it could not be done, a clause; empty when it was, or the settings do not want it.
    """
    if not wanted(settings) or not leases:
        return ""
    try:
        with wire.Wire(bridge, wire.IP) as line:
            found, server = _addresses(line, dict(list(leases.items())[:MOST]), deadline)
            if server is None:
                return "leases not given back: no DHCP server answers"
            found = _silent(found, bridge, deadline, unsure)
            for _ in range(2):
                for mac, offer in found.items():
                    line.send(dhcp.release(line.mac, mac, offer.address, offer, secrets.randbits(32)))
    except OSError as error:
        return f"leases not given back: {bridge}: {error.strerror or error}"
    return ""


def wanted(settings: Settings) -> bool:
    """Whether leases are given back on this node; there are none of libvirt's test driver."""
    return settings.release_leases and not is_test(settings.local_uri)


def leases_of(state: JobState, plan: Plan) -> dict[str, str]:
    """MAC address → address, empty when it was never learnt, of a plan's guests that ask a DHCP server.

    :raises StateError: the addresses cannot be read.
    """
    addresses = state.addresses()
    return {guest.mac: addresses.get(guest.name, "") for guest in plan.guests if guest.static is None}


def given_back(state: JobState | None, settings: Settings, deadline: Deadline) -> list[str]:
    """Give back the leases of a job's guests, as far as its state tells them; return why not, in clauses.

    :raises StateError: the state cannot be read.
    """
    plan = None if state is None else state.plan()
    if state is None or plan is None or not wanted(settings):
        return []
    bridge = bridge_here(plan, settings, deadline)
    why = release_leases(leases_of(state, plan), bridge, settings, deadline)
    return [why] if why else []


def _addresses(
    line: wire.Wire, leases: Mapping[str, str], deadline: Deadline
) -> tuple[dict[str, dhcp.Offer], dhcp.Offer | None]:
    """MAC address → address and server, for those whose address is known or offered; one server for all."""
    known = [mac for mac, address in leases.items() if address]
    unknown = [mac for mac, address in leases.items() if not address]
    offers = _offers(line, [*known[:1], *unknown], deadline)
    server = next(iter(offers.values()), None)
    if server is None:
        return {}, None
    found = {mac: dataclasses.replace(offers.get(mac, server), address=leases[mac]) for mac in known}
    return {**found, **{mac: offers[mac] for mac in unknown if mac in offers}}, server


def _silent(
    found: Mapping[str, dhcp.Offer], bridge: str, deadline: Deadline, unsure: Collection[str]
) -> dict[str, dhcp.Offer]:
    """Leave out the unsure that answer at their addresses."""
    asked = {offer.address for mac, offer in found.items() if mac in unsure}
    heard = arp.who_has(bridge, asked, deadline) if asked else {}
    return {
        mac: offer
        for mac, offer in found.items()
        if mac not in unsure or mac not in heard.get(offer.address, ())
    }


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
