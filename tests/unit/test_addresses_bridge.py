"""Guests whose user is root are listened to, and their leases given back, on the bridge that they are on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from render_kit import IMAGE, VOLUMES, keys_for, plan_of

from nornir_torque_vm.addresses import arp, wire
from nornir_torque_vm.addresses.giving import Listening
from nornir_torque_vm.addresses.release import given_back
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.found import read_domain
from nornir_torque_vm.model import Plan
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.runstate.jobstate import JobState

SITE = Settings(bridge="br-none-0", user_image_bridge="br-none-1")
OWN = plan_of(image=dataclasses.replace(IMAGE, own=True))


@pytest.mark.parametrize(("plan", "bridge"), [(plan_of(), "br-none-0"), (OWN, "br-none-1")])
def test_the_bridge_is_that_of_the_guests(
    plan: Plan, bridge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both for the look at addresses and for leases; one that is not there is said, and no failure."""
    asked: list[str] = []

    def who_has(interface: str, *_: object) -> dict[str, set[str]]:
        asked.append(interface)
        return {}

    monkeypatch.setattr(arp, "who_has", who_has)
    made = plan
    assert Listening(made, {"j17-3-r0": "10.0.0.1"}, SITE, Deadline.after(5)).report().hosts == ()
    assert asked == [bridge]

    def no(interface: str, _kind: int) -> wire.Wire:
        raise OSError(19, "No such device", interface)

    monkeypatch.setattr(wire, "Wire", no)
    state = JobState(tmp_path / "run", made.job)
    state.save(made, keys_for(), ())
    assert given_back(state, SITE, Deadline.after(5)) == [f"leases not given back: {bridge}: No such device"]
    assert given_back(state, dataclasses.replace(SITE, release_leases=False), Deadline.after(5)) == []
    assert given_back(None, SITE, Deadline.after(5)) == []


def test_the_bridge_of_a_libvirt_network_is_told_by_the_running_domain() -> None:
    """It is added there (libvirt's formatdomain, network interfaces)."""
    plan = plan_of()
    text = domain_xml(plan, plan.guests[0], VOLUMES, Settings(network="lab"))
    live = text.replace('<source network="lab"/>', '<source network="lab" portid="1" bridge="virbr7"/>')
    for described, bridge in ((text, ""), (live, "virbr7")):
        found = read_domain(described, node="n1")
        assert found is not None
        assert found.bridge == bridge
