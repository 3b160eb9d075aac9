"""Plans on recorded machines: a job on each slot, judged by the words of the recording itself."""

from __future__ import annotations

import re

import pytest
from topology_kit import RECORDINGS, Recording

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.model import Image, Job, Memory, Node, NodeFacts, Owner, Placement
from nornir_torque_vm.plan import make_plan
from nornir_torque_vm.request import Request

OWNER = Owner("alice", 2001, 2001, "users", "/home/alice")
SETTINGS = Settings(host_os_core_count=1, host_os_ram_mb=64)
RAM = 32 << 20
on_each = pytest.mark.parametrize("recording", RECORDINGS, ids=[found.name for found in RECORDINGS])


def cores(recording: Recording) -> list[tuple[int, frozenset[int]]]:
    """The cells and processors of its cores: what the kernel said are siblings, as far as they can be had."""
    listed: dict[int, tuple[int, str]] = {}
    for cell, cpus in re.findall(r"<cell id='(\d+)'>(.*?)</cell>", recording.xml(), re.DOTALL):
        for number, siblings in re.findall(r"<cpu id='(\d+)'.* siblings='([0-9,-]+)'", cpus):
            listed[int(number)] = int(cell), siblings
    there = set(recording.online) & set(listed)
    found = set()
    for number in there:
        cell, siblings = listed[number]
        first, _, last = siblings.partition("-")
        found.add((cell, frozenset(there & set(range(int(first), int(last or first) + 1)))))
    return sorted(found, key=lambda core: min(core[1]))


def placed(recording: Recording, slot: int, np: int) -> Placement:
    """Where the guest of a job with one of a node's slots runs."""
    fact = NodeFacts(
        "n1", cpus=len(recording.online), memory=1 << 33, memory_free=1 << 33,
        domain_types={"x86_64": ("qemu", "kvm")}, topology=recording.topology(),
    )  # fmt: skip
    where = Node("n1", 1, indexes=(slot,), np=np)
    plan = make_plan(
        Request(ram=RAM, vcpus=1),
        SETTINGS,
        Job("17.head", "head", OWNER),
        [where],
        Image("i", "/i"),
        {"n1": fact},
    )
    (guest,) = plan.guests
    assert guest.placement is not None
    return guest.placement


@on_each
@pytest.mark.proves("host_os_core_count")
def test_each_slot_has_a_core_with_its_siblings_and_memory_of_its_cell(recording: Recording) -> None:
    """All cores but the first, which is the host's; none for two; nothing that is offline."""
    (_, hosts), *left = cores(recording)
    assert 0 in hosts
    places = [placed(recording, slot, len(left)) for slot in range(len(left))]
    several = recording.cells > 1
    assert {(place.cells[0] if several else 0, frozenset(place.cpus)) for place in places} == set(left)
    assert sum(len(place.cpus) for place in places) == sum(len(cpus) for _, cpus in left)
    for place in places:
        assert len(place.cells) == several
        assert place.memory is (Memory.STRICT if several else None)
        assert place.vcpus == (place.cpus,)


@on_each
def test_as_many_slots_as_processors_have_one_each(recording: Recording) -> None:
    """Still without the host's core."""
    _, *left = cores(recording)
    usable = sorted(cpu for _, cpus in left for cpu in cpus)
    places = [placed(recording, slot, len(usable)) for slot in range(len(usable))]
    assert sorted(place.cpus for place in places) == [(cpu,) for cpu in usable]
