"""Guests whose user is root are listened to, and their leases given back, on the bridge that they are on."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path

import pytest
from render_kit import IMAGE, VOLUMES, keys_for, plan_of

from nornir_torque_vm.addresses import arp, wire
from nornir_torque_vm.addresses import bridge as bridges
from nornir_torque_vm.addresses.bridge import bridge_here, bridges_here
from nornir_torque_vm.addresses.giving import Listening
from nornir_torque_vm.addresses.release import given_back
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.found import read_domain
from nornir_torque_vm.model import Plan
from nornir_torque_vm.render.domain import domain_xml
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.threads import await_stragglers, stragglers

SITE = Settings(bridge="br-none-0", user_image_bridge="br-none-1")
OWN = plan_of(image=dataclasses.replace(IMAGE, own=True))
NETWORK = dataclasses.replace(SITE, network="default", local_uri="test:///default")
"""libvirt's test driver has one network, whose bridge is virbr0."""


@pytest.mark.parametrize(
    ("plan", "network", "bridge"),
    [(plan_of(), "", "br-none-0"), (OWN, "", "br-none-1"), (plan_of(), "default", "virbr0")],
)
def test_the_bridge_is_that_of_the_guests(
    plan: Plan, network: str, bridge: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both for the look at addresses and for leases; one that is not there is said, and no failure."""
    site = dataclasses.replace(SITE, network=network)
    asked_of: list[str] = []

    def answer(_uri: str, name: str) -> str:
        asked_of.append(name)
        return "virbr0"

    monkeypatch.setattr(bridges, "_asked", answer)
    asked: list[str] = []

    def who_has(interface: str, *_: object) -> dict[str, set[str]]:
        asked.append(interface)
        return {}

    monkeypatch.setattr(arp, "who_has", who_has)
    made = plan
    assert Listening(made, {"j17-3-r0": "10.0.0.1"}, site, Deadline.after(5)).report().hosts == ()
    assert asked == [bridge]

    def no(interface: str, _kind: int) -> wire.Wire:
        raise OSError(19, "No such device", interface)

    monkeypatch.setattr(wire, "Wire", no)
    state = JobState(tmp_path / "run", made.job)
    state.save(made, keys_for(), ())
    assert given_back(state, site, Deadline.after(5)) == [f"leases not given back: {bridge}: No such device"]
    assert asked_of == [network, network] * bool(network)
    assert given_back(state, dataclasses.replace(site, release_leases=False), Deadline.after(5)) == []
    assert given_back(None, site, Deadline.after(5)) == []
    assert len(asked_of) == 2 * bool(network), "nobody is asked for nothing"


def test_libvirt_says_what_bridge_its_network_has() -> None:
    """Where it does not, or has no such network, it is that of the settings, which should name it."""
    end = Deadline.after(5)
    assert bridge_here(plan_of(), NETWORK, end) == "virbr0"
    assert bridge_here(OWN, NETWORK, end) == "br-none-1", "guests of such images are on no network"
    assert bridge_here(plan_of(), dataclasses.replace(NETWORK, network="lost"), end) == "br-none-0"
    assert bridge_here(plan_of(), dataclasses.replace(NETWORK, local_uri="xen+x:///"), end) == "br-none-0"
    assert bridges_here(NETWORK, end) == ("virbr0", "br-none-1")
    assert bridges_here(Settings(bridge="br7"), end) == ("br7",)


def test_a_libvirtd_that_does_not_answer_is_waited_for_no_longer_than_there_is_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And asked by a thread of its own, which may stay behind."""
    silent = threading.Event()
    monkeypatch.setattr(bridges, "_asked", lambda *_: str(silent.wait(20)))
    try:
        began = time.monotonic()
        assert bridge_here(plan_of(), NETWORK, Deadline.after(0.3)) == "br-none-0"
        assert time.monotonic() - began < 5
        assert stragglers() == (bridges.THREAD,)
    finally:
        silent.set()
    assert await_stragglers(Deadline.after(5))


def test_the_bridge_of_a_libvirt_network_is_told_by_the_running_domain() -> None:
    """It is added there (libvirt's formatdomain, network interfaces)."""
    plan = plan_of()
    text = domain_xml(plan, plan.guests[0], VOLUMES, Settings(network="lab"))
    live = text.replace('<source network="lab"/>', '<source network="lab" portid="1" bridge="virbr7"/>')
    for described, bridge in ((text, ""), (live, "virbr7")):
        found = read_domain(described, node="n1")
        assert found is not None
        assert found.bridge == bridge
