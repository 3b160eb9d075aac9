"""What a node says about itself and its guests."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import libvirt
import pytest
from task_kit import RAM, World, first_error, libvirt_error, make_plan, result_of

from nornir_torque_vm.components.devices import Extras, SharedMemory
from nornir_torque_vm.errors import HypervisorError, HypervisorUnreachable, StorageError
from nornir_torque_vm.inventory.build import build_inventory, node_inventory
from nornir_torque_vm.model import Node
from nornir_torque_vm.tasks import boot_guest, list_guests, survey


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    made = World(tmp_path, make_plan(1, 2))
    made.connect().createXML(
        "<domain type='test'><name>web</name><memory>8192</memory><os><type>hvm</type></os></domain>", 0
    )
    return made


def test_the_survey_counts_our_guests_and_no_others(world: World) -> None:
    """Guests of other packages are the node's own business."""
    before = result_of(world.run(survey, "node"), "node1")
    assert (before.node, before.guests, before.guests_memory) == ("node1", 0, 0)
    world.run(boot_guest, "guest", probe=lambda _: True)
    after = result_of(world.run(survey, "node"), "node1")
    assert (after.guests, after.guests_memory) == (2, 2 * RAM)
    assert after.memory_free == before.memory_free - 2 * RAM


def test_the_survey_counts_once_what_the_guests_of_a_job_share(world: World) -> None:
    """Beside the memory of each: what all of them have is there one time."""
    extras = Extras(shared_memory=(SharedMemory("tvm-17-a1-00000000-n0", 4 << 20, "/memory/file"),))
    guests = tuple(dataclasses.replace(guest, extras=extras) for guest in world.plan.guests)
    plan = dataclasses.replace(world.plan, guests=guests)
    world.inventory = build_inventory(plan, world.settings, keys=world.keys, here="elsewhere")
    world.run(boot_guest, "guest", probe=lambda _: True)
    after = result_of(world.run(survey, "node"), "node1")
    assert (after.guests, after.guests_memory) == (2, 2 * RAM + (4 << 20))


def test_it_says_what_the_node_can_run_and_how_large_it_is(world: World) -> None:
    """The test driver has no topology in a node's file, so its other call is asked."""
    facts = result_of(world.run(survey, "node"), "node1")
    assert facts.domain_types == {"i686": ("test",)}
    info = world.connect().getInfo()
    assert (facts.cpus, facts.memory) == (info[2], info[1] << 20)


def test_memory_that_is_free_comes_from_the_kernel_where_the_driver_tells(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As QEMU's driver does; page cache counts as free."""
    stats = {"total": 4096, "free": 1024, "buffers": 512, "cached": 512}
    monkeypatch.setattr(libvirt.virConnect, "getMemoryStats", lambda _self, _cell: stats)
    facts = result_of(world.run(survey, "node"), "node1")
    assert (facts.memory, facts.memory_free) == (4096 << 10, 2048 << 10)


def test_a_node_that_cannot_hold_the_guests_disks_is_found_out_now(world: World) -> None:
    """Not half a start later."""
    pathlib.Path(world.settings.volume_dir).write_text("a file where the directory should be")
    assert isinstance(first_error(world.run(survey, "node"), "node1"), StorageError)


def test_a_node_that_is_not_there_is_unreachable(world: World) -> None:
    """And the sentence names it."""
    inventory = node_inventory([Node("node1"), Node("node9")], world.settings, here="elsewhere")
    results = world.nornir(inventory=inventory).run(survey)
    assert not results["node1"].failed
    error = first_error(results, "node9")
    assert isinstance(error, HypervisorUnreachable)
    assert str(error).startswith("node node9: cannot open test:///")


@pytest.mark.parametrize("call", ["getCapabilities", "getMemoryStats", "getAllDomainStats"])
def test_what_libvirt_refuses_is_our_error(world: World, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """With the node's name and libvirt's number."""

    def refuse(*_: Any) -> Any:
        raise libvirt_error(88, "access denied")

    monkeypatch.setattr(libvirt.virConnect, call, refuse)
    error = first_error(world.run(survey, "node"), "node1")
    assert isinstance(error, HypervisorError)
    assert (error.code, error.node) == (88, "node1")


def test_guests_are_listed_with_whose_and_what_they_are(world: World) -> None:
    """One record each, by job, attempt and rank; foreign domains are left out."""
    world.run(boot_guest, "guest", probe=lambda _: True)
    found = result_of(world.run(list_guests, "node"), "node1")
    assert [(guest.guest, guest.rank, guest.node, guest.owner) for guest in found] == [
        ("j17-r0", 0, "node1", "alice"),
        ("j17-r1", 1, "node1", "alice"),
    ]
    for guest, planned in zip(found, world.plan.guests, strict=True):
        assert (guest.uuid, guest.mac, guest.domain) == (planned.uuid, planned.mac, planned.domain)
        assert (guest.state, guest.vcpus, guest.memory) == ("running", 1, RAM)


def test_a_suspended_guest_is_listed_as_paused(world: World) -> None:
    """The state is libvirt's own, of this moment."""
    world.run(boot_guest, "guest", probe=lambda _: True)
    world.connect().lookupByName(world.plan.guests[0].domain).suspend()
    found = result_of(world.run(list_guests, "node"), "node1")
    assert [guest.state for guest in found] == ["paused", "running"]


def test_a_guest_that_ends_while_it_is_listed_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the two questions."""
    world.run(boot_guest, "guest", probe=lambda _: True)
    real, ending = libvirt.virDomain.XMLDesc, world.plan.guests[0].domain

    def describe(self: Any, flags: int = 0) -> Any:
        if self.name() == ending:
            self.destroy()
        return real(self, flags)

    monkeypatch.setattr(libvirt.virDomain, "XMLDesc", describe)
    assert [guest.guest for guest in result_of(world.run(list_guests, "node"), "node1")] == ["j17-r1"]
