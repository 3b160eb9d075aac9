"""Two machines at one address are noticed, before guests start and after, and named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from render_kit import plan_of

from nornir_torque_vm.addresses import giving
from nornir_torque_vm.addresses.conflicts import check_planned, judged
from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.addresses.static import given
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.errors import AddressTaken, Blame
from nornir_torque_vm.exitcodes import Outcome, outcome_of
from nornir_torque_vm.model import NodeFacts, Plan

FREE = NodeFacts("node1", 4, 1 << 32, 1 << 32, {"x86_64": ("qemu",)})
OTHER = "52:54:00:00:00:07"


def planned(*addresses: str) -> Plan:
    """A plan whose guests are to have these addresses."""
    plan = plan_of(len(addresses))
    names = [guest.name for guest in plan.guests]
    return given(plan, {name: StaticAddress(text, 24) for name, text in zip(names, addresses, strict=True)})


def refusal(plan: Plan, facts: Mapping[str, NodeFacts], heard: Mapping[str, set[str]]) -> AddressTaken:
    """Why it cannot be started."""
    with pytest.raises(AddressTaken) as caught:
        check_planned(plan, facts, heard)
    assert caught.value.blame is Blame.SITE
    return caught.value


def test_addresses_that_nobody_has_are_fine() -> None:
    """And guests that DHCP serves have none yet."""
    check_planned(planned("10.0.0.1", "10.0.0.2"), {"node1": FREE}, {"10.0.0.3": {OTHER}})
    taken = dataclasses.replace(FREE, claimed={"10.0.0.1": "tvm-9"})
    check_planned(plan_of(), {"node1": taken}, {"10.0.0.1": {OTHER}})


def test_one_address_for_two_guests_of_a_plan() -> None:
    """A program that says the same twice."""
    said = refusal(planned("10.0.0.1", "10.0.0.1"), {}, {})
    assert str(said) == (
        "node node1, guest j17-3-r1: guest j17-3-r0 is to have its address 10.0.0.1 too; mend ip_script"
    )


def test_the_address_of_another_guest_on_any_node() -> None:
    """Its domain and the node are named."""
    taken = dataclasses.replace(FREE, node="node2", claimed={"10.0.0.2": "tvm-9-a1-r0-00000000"})
    said = refusal(planned("10.0.0.1", "10.0.0.2"), {"node1": FREE, "node2": taken}, {})
    assert str(said) == (
        "node node1, guest j17-3-r1: its address 10.0.0.2 is that of tvm-9-a1-r0-00000000 on node2; look for "
        "a job that is over with torque-vm reap, and at static_nodes or ip_script"
    )


def test_an_address_at_which_somebody_answers_before_the_guest_is_there() -> None:
    """Whoever it is."""
    said = refusal(planned("10.0.0.1"), {"node1": FREE}, {"10.0.0.1": {OTHER}})
    assert str(said) == (
        f"node node1, guest j17-3-r0: at its address 10.0.0.1 the machine with MAC address {OTHER} answers; "
        "take the address away from it, or from the guests' range"
    )


def test_guests_that_answer_themselves_are_fine() -> None:
    """Each with its own MAC address; silence proves nothing."""
    plan = plan_of()
    where = {"j17-3-r0": "10.0.0.1", "j17-3-r1": "10.0.0.2"}
    assert judged(plan, where, {"10.0.0.1": {plan.guests[0].mac.upper().lower()}}).hosts == ()
    assert judged(plan, {"j17-3-r0": "", "j17-3-r1": ""}, {}).hosts == ()


def test_two_guests_found_at_one_address() -> None:
    """The second is told apart by name; the start fails by the site's fault."""
    report = judged(plan_of(), {"j17-3-r0": "10.0.0.1", "j17-3-r1": "10.0.0.1"}, {})
    assert [entry.error for entry in report.hosts] == [
        (
            "node node1, guest j17-3-r1: it was found at 10.0.0.1, and so was guest j17-3-r0; look at the "
            "DHCP server's ranges and at proxies for ARP"
        )
    ]
    assert outcome_of(report) is Outcome.SITE


def test_another_machine_beside_a_guest() -> None:
    """Two answers to one question, one of them not the guest's."""
    plan = plan_of(1)
    report = judged(plan, {"j17-3-r0": "10.0.0.1"}, {"10.0.0.1": {plan.guests[0].mac, OTHER}})
    (entry,) = report.hosts
    assert entry.phase == "address"
    assert f"the machine with MAC address {OTHER} answers" in entry.error


@pytest.mark.proves("check_addresses")
def test_where_the_site_does_not_want_it_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody has an address, whoever would answer."""
    asked: list[str] = []

    def who_has(bridge: str, *_: object) -> dict[str, set[str]]:
        asked.append(bridge)
        return {"10.89.0.9": {"02:00:00:00:00:09"}}

    monkeypatch.setattr("nornir_torque_vm.addresses.arp.who_has", who_has)
    deadline = Deadline.after(20)
    assert giving.heard(["10.89.0.9"], plan_of(), Settings(check_addresses=False), deadline) == {}
    assert asked == []
    assert giving.heard(["10.89.0.9"], plan_of(), Settings(), deadline) == {
        "10.89.0.9": {"02:00:00:00:00:09"}
    }
    assert asked == ["br0"]
