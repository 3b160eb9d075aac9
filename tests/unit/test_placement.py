"""From a request to processors: whose word counts, what is refused, and what the domain then says."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from render_kit import parse_xml
from topology_kit import GIB, Machine

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import (
    BusyError,
    HypervisorError,
    InventoryError,
    RequestError,
    SettingsError,
    TorqueVMError,
)
from nornir_torque_vm.found import read_holding
from nornir_torque_vm.model import (
    FileRef,
    Holding,
    Image,
    Job,
    Memory,
    Node,
    NodeFacts,
    Owner,
    Placement,
    Plan,
)
from nornir_torque_vm.pinning.pinfile import parse_pins
from nornir_torque_vm.plan import make_plan, plan_from_json, plan_to_json
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml
from nornir_torque_vm.request import Request

JOB = Job("17.head", "head", Owner("alice", 2001, 2001, "users", "/home/alice"))
MACHINE = Machine(cells=2, cores=4, threads=2, numbering="far")
"""Sixteen processors; those of core n are n and n + 8; cores 0-3 are in the first cell."""
ROOM = NodeFacts(
    "n1", cpus=16, memory=64 * GIB, memory_free=0, domain_types={"x86_64": ("qemu", "kvm")},
    topology=MACHINE.topology(),
)  # fmt: skip
PINS = Request(vcpu_pinning=FileRef("/home/alice/map", "0" * 64), vcpus=2, vms_per_node=2, ram=GIB >> 2)
VOLUMES = GuestVolumes("/v/overlay", "/v/seed", "/v/log")


def node(*indexes: int, np: int = 8) -> Node:
    return Node("n1", len(indexes), indexes=indexes, np=np)


def plan_on(
    where: Node, *, fact: NodeFacts = ROOM, settings: Settings | None = None, pins: str = "", **asked: Any
) -> Plan:
    request = PINS if pins else Request(**{"ram": GIB >> 2, **asked})
    facts = {fact.node: fact}
    read = parse_pins(pins.encode()) if pins else None
    return make_plan(request, settings or Settings(), JOB, [where], Image("i", "/i"), facts, read)


def placements(*arguments: Any, **more: Any) -> list[tuple[Any, ...]]:
    """The virtual processors' places of each guest."""
    return [guest.placement.vcpus for guest in plan_on(*arguments, **more).guests if guest.placement]


def refused(kind: type[TorqueVMError], *arguments: Any, **more: Any) -> str:
    with pytest.raises(kind) as caught:
        plan_on(*arguments, **more)
    assert type(caught.value) is kind
    return str(caught.value)


def test_by_default_guests_are_pinned_within_the_jobs_slots() -> None:
    """Slots 2 and 3 of 8 are the third and fourth core: a whole core for each virtual processor."""
    assert placements(node(2, 3), vcpus=2) == [((2, 10), (3, 11))]
    assert placements(node(2, 3), vms_per_node=2) == [((2, 10),), ((3, 11),)]


def test_as_many_virtual_processors_as_threads_get_a_thread_each() -> None:
    """Neighbours on one core."""
    assert placements(node(2, 3), vcpus=4) == [((2,), (10,), (3,), (11,))]
    assert placements(node(2, 3), vcpus=2, vms_per_node=2) == [((2,), (10,)), ((3,), (11,))]


def test_one_cell_counts_more_than_a_core_for_each() -> None:
    """Six of eight cores would do, in two cells; three of one cell have as many threads."""
    assert placements(node(*range(8)), vcpus=6) == [((0,), (8,), (1,), (9,), (2,), (10,))]
    assert placements(node(*range(8)), vcpus=4) == [((0, 8), (1, 9), (2, 10), (3, 11))]


@pytest.mark.proves("host_os_core_count")
def test_processors_of_the_host_are_not_given_out() -> None:
    """One kept means the first core; np then counts the seven others."""
    settings = Settings(host_os_core_count=1)
    assert placements(node(0, np=7), settings=settings) == [((1, 9),)]


@pytest.mark.proves("vcpu_pinning", "vcpu_pinning_default")
def test_without_pinning_guests_float_within_the_jobs_slots() -> None:
    """All of them over all of it, and nobody else's."""
    for guest in plan_on(node(2, 3), vcpu_pinning=False, vcpus=4, vms_per_node=2).guests:
        assert guest.placement is not None
        assert (guest.placement.cpus, guest.placement.vcpus) == ((2, 3, 10, 11), ())
        assert guest.placement.exclusive
    assert plan_on(node(2), settings=Settings(vcpu_pinning_default=False)).guests[0].placement == (
        plan_on(node(2), vcpu_pinning=False).guests[0].placement
    )


def test_more_virtual_processors_than_the_share_has_are_refused_with_numbers() -> None:
    """Before anything is started."""
    assert refused(RequestError, node(2, 3), vcpus=5) == (
        "node n1: vcpus=5 need 5 processors, the job has 4 here (slots 2-3); "
        "ask for ppn=5, fewer vcpus or vms_per_node, or vcpu_pinning=false"
    )
    assert refused(RequestError, node(4), vms_per_node=3, vcpu_pinning=True) == (
        "node n1: 3 guests with vcpus=1 need 3 processors, the job has 2 here (slots 4); "
        "ask for ppn=3, fewer vcpus or vms_per_node, or vcpu_pinning=false"
    )


@pytest.mark.parametrize(
    ("where", "why"),
    [
        (Node("n1", 2), "TORQUE did not tell which of the node's slots the job has"),
        (node(0, 1, np=0), "TORQUE did not tell which of the node's slots the job has"),
        (node(0, np=17), "TORQUE gives out 17 slots here (np=17) on 16 processors"),
    ],
)
def test_without_a_share_who_asked_is_refused_and_the_default_floats(where: Node, why: str) -> None:
    """Over all that the host does not keep; the plan says why."""
    (guest,) = plan_on(where).guests
    assert guest.placement == Placement(tuple(range(16)), why=why)
    (kept,) = plan_on(where, settings=Settings(host_os_core_count=1)).guests
    assert kept.placement is not None
    assert kept.placement.cpus == (*range(1, 8), *range(9, 16))
    said = refused(InventoryError, where, vcpu_pinning=True)
    assert said == (
        f"node n1: the guests cannot be pinned: {why}; "
        "see 'Pinning' in the administrator's guide; vcpu_pinning=false does without"
    )
    floating = plan_on(where, vcpu_pinning=False).guests[0].placement
    assert floating is not None
    assert floating.why == ""


def test_a_node_whose_processors_nobody_looked_at_gives_no_placement() -> None:
    """Unless pinning was asked for."""
    blind = dataclasses.replace(ROOM, topology=None)
    assert plan_on(node(0), fact=blind).guests[0].placement is None
    assert "libvirt does not tell the node's processors" in refused(
        InventoryError, node(0), fact=blind, vcpu_pinning=True
    )


@pytest.mark.parametrize("pinning", [True, False])
def test_processors_another_jobs_guest_holds_are_busy(*, pinning: bool) -> None:
    """Whatever TORQUE says of the slots: a guest may outlive its job by seconds. Our own do not count."""
    other = dataclasses.replace(ROOM, held=(Holding("tvm-16-a1-r0-x", "16.head", cpus=(3, 10)),))
    assert refused(BusyError, node(2, 3), fact=other, vcpu_pinning=pinning) == (
        "node n1: guests of job 16.head are on processors 3,10 still; try again when they are gone"
    )
    assert plan_on(node(4), fact=other, vcpu_pinning=pinning)
    own = dataclasses.replace(ROOM, held=(Holding("tvm-17-a1-r0-x", "17.head", cpus=(3, 10)),))
    assert plan_on(node(2, 3), fact=own, vcpu_pinning=pinning)


def test_processors_a_foreign_domain_is_bound_to_are_the_sites_business() -> None:
    """It would be busy for ever."""
    web = dataclasses.replace(ROOM, held=(Holding("web", cpus=(2,)),))
    assert refused(HypervisorError, node(2), fact=web) == (
        "node n1: the domain web is none of a job and is bound to processors 2; "
        "keep them for the host by host_os_core_count, or end it"
    )


def test_memory_comes_from_the_cell_of_the_processors() -> None:
    """Strictly as long as it fits beside what others have bound there; GIB and 2 GIB are in the cells."""
    settings = Settings(host_os_ram_mb=256)

    def bound(ram: int, *slots: int, fact: NodeFacts = ROOM) -> tuple[Any, ...]:
        (guest,) = plan_on(node(*slots), fact=fact, ram=ram, settings=settings).guests
        assert guest.placement is not None
        return guest.placement.cells, guest.placement.memory

    assert bound(768 << 20, 0) == ((0,), Memory.STRICT)
    assert bound(769 << 20, 0) == ((0,), Memory.PREFERRED)
    assert bound(769 << 20, 7) == ((1,), Memory.STRICT)
    taken = dataclasses.replace(ROOM, held=(Holding("o", "16.head", (), (0,), 512 << 20),))
    assert bound(256 << 20, 0, fact=taken) == ((0,), Memory.STRICT)
    assert bound(257 << 20, 0, fact=taken) == ((0,), Memory.PREFERRED)
    (across,) = plan_on(node(3, 4), vcpus=4).guests
    assert across.placement is not None
    assert (across.placement.cells, across.placement.memory) == ((0, 1), Memory.INTERLEAVE)


def test_a_users_mapping_counts_places_within_the_share() -> None:
    """Places 0 to 3 of slots 2 and 3 are processors 2, 10, 3 and 11; what it leaves out floats in them."""
    first, second = plan_on(node(2, 3), pins="0 0 1\n0 1 2-3\n0 emulator 0\n1 1 0\n").guests
    assert first.placement is not None
    assert second.placement is not None
    assert first.placement.vcpus == ((10,), (3, 11))
    assert first.placement.emulator == (2,)
    assert second.placement.vcpus == ((2, 3, 10, 11), (2,))
    assert second.placement.emulator == (2, 3, 10, 11)


@pytest.mark.parametrize(
    ("pins", "why"),
    [
        ("2 0 0", "has a guest 2, the job has 2 on a node; they count from 0: raise vms_per_node"),
        ("0 2 0", "has a vcpu 2 of guest 0, which has 2; they count from 0: raise vcpus"),
        ("0 0 4", "has a processor 4, the job has 4 on the node; they count from 0: raise ppn"),
        ("0 emulator 0-4", "has a processor 4, the job has 4 on the node; they count from 0: raise ppn"),
    ],
)
def test_a_mapping_reaches_nothing_outside_the_job(pins: str, why: str) -> None:
    """Neither other guests nor other processors; an unknown share has no places at all."""
    assert why in refused(RequestError, node(2, 3), pins=pins)
    assert refused(InventoryError, Node("n1", 2), pins="0 0 0")


def test_a_mapping_nobody_read_is_not_taken_for_none() -> None:
    """As when guests are started by hand."""
    with pytest.raises(RequestError, match="the pinning file has not been read"):
        make_plan(PINS, Settings(), JOB, [node(2, 3)], Image("i", "/i"), {"n1": ROOM})


def test_the_host_keeps_whole_cores_of_what_guests_may_use() -> None:
    """So one processor kept leaves fourteen of sixteen."""
    settings = Settings(host_os_core_count=1)
    assert "vcpus=15 is more than the 14 processors" in refused(
        RequestError, node(0), settings=settings, vcpus=15
    )
    assert refused(SettingsError, node(0), settings=Settings(host_os_core_count=16))


@pytest.mark.parametrize("asked", [{}, {"vcpu_pinning": False}, {"pins": "0 0 0\n"}])
def test_a_plan_with_placements_survives_json(asked: dict[str, Any]) -> None:
    """With every kind of them."""
    plan = plan_on(node(2, 3), **asked)
    assert plan_from_json(plan_to_json(plan)) == plan


def domain(plan: Plan, number: int = 0) -> ET.Element:
    return parse_xml(domain_xml(plan, plan.guests[number], VOLUMES, Settings()))


def test_the_domain_binds_what_the_plan_says() -> None:
    """Each virtual processor, the emulator, the memory, and all of them together."""
    root = domain(plan_on(node(2, 3), vcpus=2, vms_per_node=2, hypervisor="kvm"), 1)
    vcpu = root.find("vcpu")
    assert vcpu is not None
    assert (vcpu.get("cpuset"), vcpu.text) == ("3,11", "2")
    pins = [(pin.get("vcpu"), pin.get("cpuset")) for pin in root.findall("cputune/vcpupin")]
    assert pins == [("0", "3"), ("1", "11")]
    assert [pin.get("cpuset") for pin in root.findall("cputune/emulatorpin")] == ["3,11"]
    memory = root.find("numatune/memory")
    assert memory is not None
    assert (memory.get("mode"), memory.get("nodeset")) == ("strict", "0")


def test_a_guest_that_floats_is_bound_as_a_whole() -> None:
    """To the share, or to what the host does not keep; not at all where nobody looked at the node."""
    (root, away) = domain(plan_on(node(2, 3), vcpu_pinning=False)), domain(plan_on(Node("n1", 2)))
    for found, cpus in ((root, "2-3,10-11"), (away, "0-15")):
        vcpu = found.find("vcpu")
        assert vcpu is not None
        assert vcpu.attrib == {"placement": "static", "cpuset": cpus}
        assert found.find("cputune") is None
        assert found.find("numatune") is None
    bare = domain(plan_on(node(2, 3), fact=dataclasses.replace(ROOM, topology=None))).find("vcpu")
    assert bare is not None
    assert bare.attrib == {"placement": "static"}


def test_what_a_guest_holds_can_be_read_from_its_domain() -> None:
    """Only what is its job's own: a guest that floats over the whole node holds none of it."""
    for hypervisor in ("kvm", "qemu"):
        plan = plan_on(node(2, 3), vcpus=4, hypervisor=hypervisor)
        text = domain_xml(plan, plan.guests[0], VOLUMES, Settings())
        held = read_holding(text, node="n1")
        assert held == Holding(plan.guests[0].domain, "17.head", (2, 3, 10, 11), (0,), GIB >> 2)
    plan = plan_on(Node("n1", 2))
    assert read_holding(domain_xml(plan, plan.guests[0], VOLUMES, Settings()), node="n1") is None


def test_what_foreign_domains_hold_are_their_bound_processors() -> None:
    """One by one or all together; most are not bound at all."""
    text = "<domain><name>web</name><memory unit='MiB'>64</memory>{}</domain>"
    pins = "<vcpu>2</vcpu><cputune><vcpupin vcpu='0' cpuset='1-2'/><vcpupin vcpu='1' cpuset='5'/></cputune>"
    assert read_holding(text.format(pins), node="n") == Holding("web", "", (1, 2, 5), (), 64 << 20)
    together = "<vcpu cpuset='4-6,^5'>2</vcpu><numatune><memory mode='preferred' nodeset='0'/></numatune>"
    assert read_holding(text.format(together), node="n") == Holding("web", "", (4, 6), (), 64 << 20)
    assert read_holding(text.format("<vcpu>2</vcpu>"), node="n") is None
    with pytest.raises(HypervisorError, match=r"^node n: a domain's description is not XML"):
        read_holding("<domain>", node="n")
