"""Whose leases the reaper gives back: those of the job's guests that anything here tells of."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest
from task_kit import JOB, make_plan

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline
from nornir_torque_vm.identity import domain_name, job_tag, mac_address
from nornir_torque_vm.model import Plan
from nornir_torque_vm.reap import leases
from nornir_torque_vm.reap.leftovers import Found, Leftovers
from nornir_torque_vm.runstate.jobstate import JOBS, JobState
from nornir_torque_vm.sshkeys import make_job_keys

MACS = [mac_address("head", JOB.id, rank) for rank in range(3)]
VOLUME = Found("volume", f"{domain_name(JOB, 2)}.qcow2", "17")
DOMAIN = Found("domain", domain_name(JOB, 0), "17", JOB.id, mac=MACS[0], bridge="br9")


class Site:
    """A node's run directory and settings, and what was given back there."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = Settings(run_dir=str(folder / "run"), bridge="br0", user_image_bridge="br1")
        self.given: dict[str, dict[str, str]] = {}
        self.unsure: set[str] = set()
        monkeypatch.setattr(leases, "release_leases", self.take)

    def take(
        self,
        found: Mapping[str, str],
        bridge: str,
        _settings: Settings,
        _end: Deadline,
        unsure: Collection[str],
    ) -> str:
        """In place of what sends releases."""
        self.given[bridge] = dict(found)
        self.unsure |= set(unsure)
        return ""

    def plan(self, addresses: Mapping[str, str], plan: Plan | None = None) -> Found:
        """Keep the plan of a job with a guest on each of two nodes, and the addresses of its guests."""
        made = plan or make_plan(2, 1)
        keys, state = (
            make_job_keys([guest.name for guest in made.guests]),
            JobState(self.settings.run_dir, JOB),
        )
        state.save(made, keys)
        if addresses:
            state.hand_over(made, keys, addresses)
        return Found(JOBS, job_tag(JOB), "17", JOB.id)

    def give_back(self, *things: Found, ids: Collection[str] = (JOB.id,), node: str = "node1") -> None:
        """Give back what these things tell of."""
        left = Leftovers("17", frozenset(things))
        leases.give_back(left, tuple(ids), node, self.settings, Deadline.after(5))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(tmp_path, monkeypatch)


def test_the_plan_tells_those_of_guests_whose_domains_are_gone(site: Site) -> None:
    """Those of other nodes may still run."""
    site.give_back(site.plan({}))
    assert site.given == {"br0": {MACS[0]: "", MACS[1]: ""}}
    assert site.unsure == {MACS[1]}
    site.give_back(site.plan({}), node="elsewhere")
    assert site.unsure == {MACS[0], MACS[1]}


def test_addresses_are_known_when_the_job_had_its_guests(site: Site) -> None:
    """Also of those whose domains are there, which do not tell them."""
    plan = make_plan(2, 1)
    addresses = {guest.name: f"10.89.0.{80 + guest.rank}" for guest in plan.guests}
    site.give_back(site.plan(addresses), DOMAIN, VOLUME)
    assert site.given == {
        "br9": {MACS[0]: "10.89.0.80"},
        "br0": {MACS[1]: "10.89.0.81", MACS[2]: ""},
        "br1": {MACS[2]: ""},
    }
    assert site.unsure == {MACS[1]}


def test_the_plan_tells_the_bridge_and_who_has_no_lease(site: Site) -> None:
    """A guest of its user's own image is on another one; one with a computed address asked nobody."""
    plan = make_plan(2, 1)
    own = dataclasses.replace(plan, image=dataclasses.replace(plan.image, own=True))
    fixed = dataclasses.replace(plan.guests[0], static=StaticAddress("10.89.0.80", 24))
    site.give_back(site.plan({}, dataclasses.replace(own, guests=(fixed, plan.guests[1]))))
    assert site.given == {"br1": {MACS[1]: ""}}


def test_a_domain_tells_its_own(site: Site) -> None:
    """And where it is; if libvirt does not tell, it is where guests usually are."""
    site.give_back(DOMAIN, Found("domain", domain_name(JOB, 1), "17", JOB.id, mac=MACS[1]))
    assert site.given == {"br9": {MACS[0]: ""}, "br0": {MACS[1]: ""}}
    assert site.unsure == set()


def test_after_a_restart_the_names_of_files_tell_which_guests_there_were(site: Site) -> None:
    """With the job's id, their MAC addresses; not which bridge, so each is tried."""
    site.give_back(VOLUME)
    assert site.given == {"br0": {MACS[2]: ""}, "br1": {MACS[2]: ""}}
    assert site.unsure == set()


def test_files_of_a_guest_that_is_there_tell_nothing_more(site: Site) -> None:
    """Its domain says what lease it has; one with a computed address says none."""
    fixed = dataclasses.replace(DOMAIN, mac="", bridge="")
    site.give_back(fixed, Found("volume", f"{domain_name(JOB, 0)}.qcow2", "17"))
    assert site.given == {}


def test_without_the_servers_name_no_mac_address_is_guessed(site: Site) -> None:
    """It is a part of what they are made of; nor where addresses are computed."""
    site.give_back(VOLUME, ids=("17",))
    site.settings = dataclasses.replace(
        site.settings, static_ip_mapping=True, static_network="10.89.0.0/24", static_nodes="node[1-2]"
    )
    site.give_back(VOLUME)
    assert site.given == {}


def test_a_plan_that_cannot_be_read_is_no_hindrance(site: Site) -> None:
    """The others are told of all the same."""
    kept = site.plan({})
    (Path(site.settings.run_dir) / JOBS / kept.name / "plan.json").write_text("{")
    site.give_back(kept, DOMAIN)
    assert site.given == {"br9": {MACS[0]: ""}}


def test_a_site_may_keep_leases_of_leftovers_too(site: Site) -> None:
    """Nobody is asked for anything."""
    site.settings = dataclasses.replace(site.settings, release_leases=False)
    site.give_back(site.plan({}), DOMAIN, VOLUME)
    assert site.given == {}
