"""Two machines at one address: what plans, domains and answers from the network say of it. Pure.

All are the site's to mend: a wrong range, a program that repeats itself, a machine nobody knew of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from nornir_torque_vm.errors import AddressTaken
from nornir_torque_vm.model import Guest, NodeFacts, Plan
from nornir_torque_vm.report import Failure, HostReport, Report, Status

Heard = Mapping[str, Collection[str]]
"""Address → MAC addresses of the machines that answer there."""


def check_planned(plan: Plan, facts: Mapping[str, NodeFacts], heard: Heard) -> None:
    """Make sure that nobody has the addresses that guests are to be given.

    :param heard: before the guests exist, so any answer is one too many.
    :raises AddressTaken: two guests of the plan have one address, or another guest, or any machine.
    """
    for first, second in _twice({guest.name: guest.static.address for guest in plan.guests if guest.static}):
        guest = _named(plan, second)
        raise AddressTaken(
            f"guest {first} is to have its address {guest.static.address if guest.static else ''} too",
            hint="mend ip_script", node=guest.node, guest=second,
        )  # fmt: skip
    for guest in plan.guests:
        if guest.static is None:
            continue
        address = guest.static.address
        for fact in facts.values():
            if address in fact.claimed:
                raise AddressTaken(
                    f"its address {address} is that of {fact.claimed[address]} on {fact.node}",
                    hint="look for a job that is over with torque-vm reap, and at static_nodes or ip_script",
                    node=guest.node, guest=guest.name,
                )  # fmt: skip
        if others := heard.get(address):
            raise _answered(guest, address, others)


def judged(plan: Plan, addresses: Mapping[str, str], heard: Heard) -> Report:
    """Look at the addresses of guests that run: a report of those at which somebody else is too.

    :param addresses: guest name → address.
    """
    bad: dict[str, AddressTaken] = {}
    for first, second in _twice({name: address for name, address in addresses.items() if address}):
        guest = _named(plan, second)
        bad[second] = AddressTaken(
            f"it was found at {addresses[second]}, and so was guest {first}",
            hint="look at the DHCP server's ranges and at proxies for ARP", node=guest.node, guest=second,
        )  # fmt: skip
    for guest in plan.guests:
        address = addresses.get(guest.name, "")
        if others := set(heard.get(address, ())) - {guest.mac.lower()}:
            bad.setdefault(guest.name, _answered(guest, address, others))
    return Report(
        tuple(
            HostReport(name, error.node, "address", Status.FAILED, failure=Failure.of(error))
            for name, error in bad.items()
        )
    )


def _answered(guest: Guest, address: str, others: Iterable[str]) -> AddressTaken:
    return AddressTaken(
        f"at its address {address} the machine with MAC address {' and '.join(sorted(others))} answers",
        hint="take the address away from it, or from the guests' range",
        node=guest.node,
        guest=guest.name,
    )


def _twice(addresses: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of guests with one address, the first that has it before each other."""
    first: dict[str, str] = {}
    for name, address in addresses.items():
        if address in first:
            yield first[address], name
        first.setdefault(address, name)


def _named(plan: Plan, name: str) -> Guest:
    return next(guest for guest in plan.guests if guest.name == name)
