"""Planned addresses in a prologue: from slots into plan, domain and hand-over; and who has them already."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_kit import JOB, Site

from nornir_torque_vm.errors import AddressTaken, InventoryError, RequestError
from nornir_torque_vm.runstate.handover import read_handover
from nornir_torque_vm.runstate.jobstate import JobState
from nornir_torque_vm.tasks import sources

PLANNED: dict[str, Any] = {
    "static_ip_mapping": True,
    "static_network": "10.89.0.0/24",
    "static_nodes": "node[1-2]",
    "static_slots": 4,
    "static_gateway": "10.89.0.254",
}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Nodes of four slots with a server that tells a job's."""
    monkeypatch.setattr(sources, "answers", lambda _: True)
    made = Site(tmp_path, **PLANNED)
    yield made
    made.close()


def slots(site: Site, exec_host: str) -> None:
    """Let the server say that a job has these."""
    asked = f"<Data><Job><Job_Id>$3</Job_Id><exec_host>{exec_host}</exec_host></Job></Data>"
    nodes = "".join(f"<Node><name>{n}</name><state>free</state><np>4</np></Node>" for n in site.nodes)
    for name, text in (("qstat", asked), ("pbsnodes", f"<Data>{nodes}</Data>")):
        (site.folder / "bin" / name).write_text(f'#!/bin/sh\necho "{text}"\n')


def test_the_addresses_of_a_jobs_slots_reach_plan_domain_and_owner(site: Site) -> None:
    """The first address of node1 is that of its slot 0; node2's follow those of node1."""
    slots(site, "node1/2+node2/0")
    assert site.prologue().ok
    state = JobState.find(site.settings.run_dir, JOB)
    plan = state.plan() if state else None
    assert plan
    assert [guest.static.text for guest in plan.guests if guest.static] == ["10.89.0.3/24", "10.89.0.5/24"]
    domain = site.connect("node2").lookupByName(plan.guests[1].domain)
    assert 'address="10.89.0.5/24"' in domain.XMLDesc(0)
    given = read_handover(site.settings.run_dir, JOB)
    assert [guest.address for guest in given.guests] == ["10.89.0.3", "10.89.0.5"]
    assert site.epilogue().ok
    assert site.left() == []


def test_another_jobs_guest_with_that_address_stops_the_start(site: Site) -> None:
    """The settings were changed while guests ran; that guest stays as it is."""
    slots(site, "node1/2+node2/0")
    assert site.prologue().ok
    before = site.domains()
    slots(site, "node1/1+node2/1")
    site.settings = dataclasses.replace(site.settings, static_first="10.89.0.2")
    with pytest.raises(
        AddressTaken, match=r"guest j18-r0: its address 10\.89\.0\.3 is that of tvm-17-a1-r0-"
    ):
        site.prologue(site.call(job_id="18.head"))
    assert site.domains() == before
    assert site.epilogue().ok


def test_without_slots_nothing_is_started(site: Site) -> None:
    """The sentence says what the server said."""
    with pytest.raises(InventoryError) as caught:
        site.prologue()
    assert str(caught.value).startswith(
        "node node1: static_ip_mapping cannot compute addresses: the job's slots are not known: "
    )
    assert site.left() == []


def test_more_guests_than_slots_is_the_users_mistake(site: Site) -> None:
    """They would share addresses with the next job."""
    slots(site, "node1/2+node2/0")
    with pytest.raises(RequestError, match="2 guests need as many slots"):
        site.prologue(site.call("ram=64M:vms_per_node=2"))
    verdict = Path(site.settings.history_dir, f"{JOB}.1", "verdict.json")
    assert json.loads(verdict.read_text())["outcome"] == "refused"
    assert site.domains() == []
