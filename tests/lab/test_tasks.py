"""The tasks on real nodes and guests, from a plain ``InitNornir`` script: one tour, seen from all sides."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from driving import leftovers

from nornir_torque_vm.lab import Lab

pytestmark = pytest.mark.lab

GUESTS = ("j4712-r0", "j4712-r1")
"""The first is on the node the script runs on, the second on the other node."""


@pytest.fixture(scope="module")
def tour(lab: Lab) -> dict[str, Any]:
    """What task_probe saw: step → host → verdict."""
    image = next(path.name for path in lab.pool.iterdir() if path.name.startswith("micro"))
    argv = [sys.executable, str(Path(__file__).parent / "task_probe.py"), image]
    done = lab.run("node1", argv, seconds=240)
    assert done.stderr == ""
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def good(step: dict[str, Any]) -> bool:
    return all(entry["error"] is None for entry in step.values())


def test_the_survey_knows_what_qemu_can_run(tour: dict[str, Any]) -> None:
    """Memory as the kernel counts it, domain types and emulator as libvirt found them."""
    for node in ("node1", "node2"):
        facts = tour["survey"][node]["data"]
        assert "qemu" in facts["domain_types"]["x86_64"]
        assert facts["emulators"]["x86_64"].endswith("qemu-system-x86_64")
        assert facts["memory"] >= facts["memory_free"] > 256 << 20
        assert facts["cpus"] >= 1


def test_guests_of_both_nodes_become_healthy(tour: dict[str, Any]) -> None:
    """The near one through this node's table, the far one through the other node's, over its shell."""
    assert good(tour["boot"])
    for name in GUESTS:
        assert tour["boot"][name]["data"]["source"] == "neighbour"
        assert tour["boot"][name]["changed"] is True


def test_every_source_tells_the_same_address_or_says_why_not(tour: dict[str, Any]) -> None:
    """DHCP runs elsewhere, so libvirt has no lease; its own table reader works on some kernels only."""
    for name in GUESTS:
        address = tour["boot"][name]["data"]["address"]
        assert tour["neighbour"][name]["data"]["address"] == address
        assert tour["lease"][name]["status"] == "late"
        assert "lease: no address yet" in tour["lease"][name]["error"]["message"]
        arp = tour["arp"][name]
        assert arp["error"]["type"] == "NoAddress" if arp["error"] else arp["data"]["address"] == address


def test_guests_know_each_other_after_the_roster(tour: dict[str, Any]) -> None:
    """Each finds both names in its own hosts file."""
    assert good(tour["roster"])
    for name in GUESTS:
        assert set(GUESTS) <= set(tour["named"][name]["data"]["output"].split())


def test_a_command_that_fails_makes_a_guest_unhealthy_in_its_own_words(tour: dict[str, Any]) -> None:
    """With the exit status and what it complained about."""
    for name in GUESTS:
        error = tour["refused"][name]["error"]
        assert error["type"] == "NotHealthy"
        assert "exit status 9: no such luck" in error["message"]


def test_listed_guests_can_be_checked_without_a_plan(tour: dict[str, Any]) -> None:
    """Their addresses are found on the way."""
    assert good(tour["again"])
    for node, name in zip(("node1", "node2"), GUESTS, strict=True):
        (record,) = tour["listed"][node]["data"]["result"]
        assert (record["guest"], record["node"], record["state"]) == (name, node, "running")
        assert (record["vcpus"], record["memory"]) == (1, 192 << 20)


def test_a_kernel_panic_ends_the_wait_and_is_quoted(tour: dict[str, Any]) -> None:
    """At once, and not at the deadline, with the last words of the console."""
    error = tour["panic"][GUESTS[1]]["error"]
    assert error["type"] == "GuestDied"
    assert "Kernel panic" in error["message"]


def test_destroy_says_what_it_removes_and_leaves_nothing(tour: dict[str, Any], lab: Lab) -> None:
    """The dry run names what then goes; the second time there is nothing."""
    for node in ("node1", "node2"):
        dry, gone = tour["dry"][node]["data"], tour["gone"][node]["data"]
        assert dry == gone
        assert all(f"{name}-seed.iso" in gone["volumes"] for name in gone["domains"])
        assert set(gone["domains"]) < set(gone["volumes"]), "folders, called as the domains"
        assert tour["twice"][node]["changed"] is False
        assert tour["left"][node]["data"]["result"] == []
    assert leftovers(lab) == {}
