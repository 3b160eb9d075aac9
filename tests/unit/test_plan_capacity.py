"""Whether the guests fit: who is told what when they do not."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import (
    BusyError,
    HypervisorError,
    RequestError,
    SettingsError,
    StorageError,
    TorqueVMError,
)
from nornir_torque_vm.model import Distro, Image, Job, Node, NodeFacts, Owner, Plan, Shape
from nornir_torque_vm.plan import make_plan, plan_from_json, plan_to_json
from nornir_torque_vm.request import Request

MiB, GiB = 1 << 20, 1 << 30
JOB = Job("17.head", "head", Owner("alice", 2001, 2001, "users", "/home/alice"))
BOTH = {"x86_64": ("qemu", "kvm"), "i686": ("qemu",)}
ROOM = NodeFacts("n1", cpus=8, memory=16 * GiB, memory_free=0, domain_types=BOTH)
SITE = Settings(host_os_core_count=2, host_os_ram_mb=1024, max_vms_per_node=4)


def plan_on(*facts: NodeFacts, settings: Settings = SITE, **request: Any) -> Plan:
    """Plan on one node per fact."""
    nodes = [Node(fact.node) for fact in facts]
    return make_plan(
        Request(**request), settings, JOB, nodes, Image("i", "/i"), {fact.node: fact for fact in facts}
    )


def fact(node: str = "n1", **changes: Any) -> NodeFacts:
    return dataclasses.replace(ROOM, node=node, **changes)


def refused(kind: type[TorqueVMError], *facts: NodeFacts, settings: Settings = SITE, **request: Any) -> str:
    """The sentence of the refusal, which has to be of exactly this class."""
    with pytest.raises(kind) as caught:
        plan_on(*facts, settings=settings, **request)
    assert type(caught.value) is kind
    return str(caught.value)


def test_without_facts_nothing_is_checked() -> None:
    """A dry run on a submit host knows no node."""
    huge = Request(vcpus=1000, ram=1 << 50, arch="sparc")
    plan = make_plan(huge, SITE, JOB, [Node("n1")], Image("i", "/i"))
    assert plan.guests[0].shape == Shape(1000, 1 << 50, "sparc", "kvm")


def test_a_node_without_facts_is_not_checked_and_others_are() -> None:
    """Facts of nodes that are not the job's do not matter either."""
    nodes, image = [Node("n0"), Node("n1")], Image("i", "/i")
    facts = {"n1": fact(), "other": fact("other", cpus=1)}
    assert len(make_plan(Request(vcpus=6), SITE, JOB, nodes, image, facts).guests) == 2
    with pytest.raises(RequestError, match=r"^node n1: "):
        make_plan(Request(vcpus=7), SITE, JOB, nodes, image, facts)


def test_guests_may_use_every_processor_the_system_does_not_keep() -> None:
    """8 less 2 is 6; each guest counts by itself, since processors can be shared."""
    assert plan_on(fact(), vcpus=6, vms_per_node=2).guests[0].shape.vcpus == 6
    assert refused(RequestError, fact(), vcpus=7) == (
        "node n1: vcpus=7 is more than the 6 processors guests may use here; ask for at most vcpus=6"
    )


def test_guests_may_use_all_memory_the_system_does_not_keep() -> None:
    """16 GiB less 1 GiB holds 15 GiB, in one guest or in several, and not one MiB more."""
    assert plan_on(fact(), ram=15 * GiB)
    assert plan_on(fact(), ram=5 * GiB, vms_per_node=3)
    assert refused(RequestError, fact(), ram=15 * GiB + MiB) == (
        "node n1: ram=15361M is more than the 15360M guests may use here; "
        "ask for less with ram= or vms_per_node="
    )
    assert refused(RequestError, fact(), ram=5 * GiB + MiB, vms_per_node=3) == (
        "node n1: ram=5121M for 3 guests is more than the 15360M guests may use here; "
        "ask for less with ram= or vms_per_node="
    )


def test_guests_that_are_there_take_memory_for_now() -> None:
    """What other guests may use is gone until they end: nobody's fault."""
    busy = fact(guests=1, guests_memory=5 * GiB)
    assert plan_on(busy, ram=10 * GiB)
    assert refused(BusyError, busy, ram=10 * GiB + MiB) == (
        "node n1: ram=10241M is more than the 10240M other guests have left; "
        "try again when other jobs have ended"
    )
    assert refused(BusyError, fact(guests_memory=20 * GiB), ram=GiB, vms_per_node=2) == (
        "node n1: ram=1G for 2 guests is more than the 0M other guests have left; "
        "try again when other jobs have ended"
    )


def test_guests_that_are_there_take_places_for_now() -> None:
    """Four places, two taken: two more fit, three do not."""
    busy = fact(guests=2)
    assert len(plan_on(busy, vms_per_node=2, ram=GiB).guests) == 2
    assert refused(BusyError, busy, vms_per_node=3, ram=GiB) == (
        "node n1: 2 guests are there and 3 more would exceed 4; try again when other jobs have ended"
    )


@pytest.mark.parametrize("changes", [{"cpus": 2}, {"memory": GiB}, {"cpus": 0}])
def test_a_node_whose_system_keeps_everything_is_the_sites_mistake(changes: dict[str, Any]) -> None:
    """No request could fit, so the user is not blamed."""
    changed = fact(**changes)
    assert refused(SettingsError, changed) == (
        f"node n1: nothing is left for guests of {changed.cpus} processors and {changed.memory >> 20}M; "
        "lower host_os_core_count or host_os_ram_mb in the settings"
    )


def test_one_processor_and_one_byte_more_than_the_system_keeps_are_something() -> None:
    """From there on it is the request that does not fit."""
    assert plan_on(fact(cpus=3))
    assert "ram=2G is more than the 0M" in refused(RequestError, fact(memory=GiB + 1))


def test_an_architecture_no_emulator_runs_is_refused() -> None:
    """The user sees what there is."""
    assert plan_on(fact(), arch="i686", hypervisor="qemu")
    assert refused(RequestError, fact(), arch="riscv64") == (
        "node n1: arch=riscv64 cannot be run here; the node offers i686, x86_64"
    )
    assert refused(RequestError, fact(domain_types={})).endswith("; the node offers none at all")


def test_a_node_without_kvm_is_the_sites_fault_and_the_cure_is_named() -> None:
    """The node is broken or not meant for it; emulation would do, slowly."""
    emulating = fact("n7", domain_types={"x86_64": ("qemu", "xen")})
    assert plan_on(emulating, hypervisor="qemu")
    assert refused(HypervisorError, fact(), emulating) == (
        "node n7: hypervisor=kvm is not available for x86_64, only qemu, xen; "
        "make /dev/kvm work there, or ask for hypervisor=qemu (slow emulation)"
    )


def test_a_node_that_cannot_emulate_needs_an_emulator() -> None:
    """The cure for kvm is no cure for qemu."""
    assert refused(HypervisorError, fact(domain_types={"x86_64": ("kvm",)}), hypervisor="qemu") == (
        "node n1: hypervisor=qemu is not available for x86_64, only kvm; install the emulator there"
    )


def test_another_architecture_than_the_nodes_can_only_be_emulated() -> None:
    """Nothing an administrator could mend, so the user has to ask for it."""
    assert refused(RequestError, fact(), arch="i686", hypervisor="kvm") == (
        "node n1: arch=i686 can only be emulated here; ask for hypervisor=qemu"
    )


def test_what_libvirt_has_against_the_machine_is_the_sites_to_mend() -> None:
    """On the node that it is said of."""
    bad = fact("n7", refused="the machine 'pc-9' is not supported by emulator '/usr/bin/qemu'")
    assert refused(HypervisorError, fact(), bad) == (
        "node n7: guests as the settings describe them cannot be made here: the machine 'pc-9' is not "
        "supported by emulator '/usr/bin/qemu'; provide it there, or correct the settings emulator, "
        "machine_type, cpu_model, network, network_filter"
    )


def test_libvirts_test_driver_gets_guests_of_its_own_kind() -> None:
    """It runs nothing, whatever the architecture; other nodes of the same job keep theirs."""
    pretending = fact("t", domain_types={"i686": ("test",)})
    assert plan_on(pretending).guests[0].shape == Shape(1, 2 * GiB, "i686", "test")
    mixed = plan_on(pretending, fact())
    assert [guest.shape.domain_type for guest in mixed.guests] == ["test", "kvm"]
    assert refused(RequestError, pretending, vcpus=7).startswith("node t: vcpus=7 is more than")
    assert "arch=x86_64" in refused(RequestError, fact(domain_types={"i686": ("test", "qemu")}))


@pytest.mark.parametrize("reverse", [False, True])
def test_what_no_other_attempt_can_mend_is_told_first(*, reverse: bool) -> None:
    """User before site before nobody, whichever node comes first."""
    busy, broken, small = (
        fact("busy", guests=4),
        fact("b", domain_types={"x86_64": ("qemu",)}),
        fact("s", cpus=3),
    )

    def sentence(kind: type[TorqueVMError], *facts: NodeFacts) -> str:
        return refused(kind, *(facts[::-1] if reverse else facts), vcpus=2)

    assert sentence(BusyError, busy, fact()).startswith("node busy: ")
    assert sentence(HypervisorError, busy, broken).startswith("node b: ")
    assert sentence(RequestError, busy, broken, small).startswith("node s: ")
    other_arch = fact("a", domain_types={"ppc64": ("kvm",)})
    assert sentence(RequestError, broken, busy, other_arch).startswith("node a: ")


def test_of_nodes_that_object_alike_the_first_is_named() -> None:
    """In nodefile order."""
    assert refused(BusyError, fact("n2", guests=4), fact("n1", guests=4)).startswith("node n2: ")


IN_MEMORY = dataclasses.replace(
    SITE, filesystem_type_default="ramdisk", ramdisk_dir="/memory", ramdisk_mb=1024
)


def test_a_disk_in_memory_counts_like_the_guests_memory() -> None:
    """15 GiB hold three guests of 4 GiB with a disk of 1 GiB each, and no MiB more."""
    node = fact(ramdisk=8 * GiB)
    guests = plan_on(node, settings=IN_MEMORY, ram=4 * GiB, vms_per_node=3).guests
    assert {guest.shape.ramdisk for guest in guests} == {GiB}
    assert refused(RequestError, node, settings=IN_MEMORY, ram=4 * GiB + MiB, vms_per_node=3) == (
        "node n1: ram=4097M and a disk of 1G in memory for 3 guests is more than the 15360M guests may use "
        "here; ask for less with ram= or vms_per_node="
    )
    busy = fact(ramdisk=8 * GiB, guests=1, guests_memory=10 * GiB, guests_ramdisk=GiB)
    assert plan_on(busy, settings=IN_MEMORY, ram=4 * GiB)
    assert refused(BusyError, busy, settings=IN_MEMORY, ram=4 * GiB + MiB) == (
        "node n1: ram=4097M and a disk of 1G in memory is more than the 5120M other guests have left; "
        "try again when other jobs have ended"
    )


SHARING = dataclasses.replace(
    SITE,
    unclot_enabled=True,
    unclot_distros=(Distro.DEBIAN,),
    unclot_shmem_default=GiB,
    ramdisk_dir="/memory",
)
LARGE = fact(ramdisk=16 * GiB)
"""A node on which only its memory is scarce."""


def test_shared_memory_counts_once_for_all_guests_of_a_node() -> None:
    """15 GiB hold two guests of 7 GiB and the 1 GiB that they share, and no MiB more."""
    assert plan_on(LARGE, settings=SHARING, unclot=True, ram=7 * GiB, vms_per_node=2)
    asked = {"unclot": True, "ram": 7 * GiB + MiB, "vms_per_node": 2}
    assert refused(RequestError, LARGE, settings=SHARING, **asked) == (
        "node n1: ram=7169M for 2 guests with 1G of shared memory is more than the 15360M guests may use "
        "here; ask for less with ram=, vms_per_node= or unclot_shmem="
    )
    busy = dataclasses.replace(LARGE, guests=1, guests_memory=10 * GiB)
    assert plan_on(busy, settings=SHARING, unclot=True, ram=4 * GiB)
    assert refused(BusyError, busy, settings=SHARING, unclot=True, ram=4 * GiB + MiB) == (
        "node n1: ram=4097M with 1G of shared memory is more than the 5120M other guests have left; "
        "try again when other jobs have ended"
    )


def test_shared_memory_counts_as_large_as_it_is_made() -> None:
    """A power of two; 8 GiB in place of the 5 that were asked for."""
    assert plan_on(LARGE, settings=SHARING, unclot=True, unclot_shmem=5 * GiB, ram=7 * GiB)
    with pytest.raises(RequestError, match=r"with 8G of shared memory is more"):
        plan_on(LARGE, settings=SHARING, unclot=True, unclot_shmem=5 * GiB, ram=7 * GiB + MiB)


def test_jobs_without_shared_memory_have_all_for_their_guests() -> None:
    """Those that do not ask for it, and those whose guests cannot use what others get by default."""
    assert plan_on(LARGE, settings=SHARING, ram=15 * GiB)
    usual = dataclasses.replace(SHARING, unclot_default=True)
    assert plan_on(LARGE, settings=usual, unclot=False, ram=15 * GiB)
    with pytest.raises(RequestError, match="shared memory"):
        plan_on(LARGE, settings=usual, ram=15 * GiB)
    assert plan_on(LARGE, settings=dataclasses.replace(usual, unclot_distros=(Distro.OSV,)), ram=15 * GiB)


@pytest.mark.proves("filesystem_type_default")
def test_a_job_can_ask_for_the_other_place() -> None:
    """By the key, whatever the default is."""
    assert plan_on(fact(), settings=IN_MEMORY, fs_type="sharedfs").guests[0].shape.ramdisk == 0
    site = dataclasses.replace(IN_MEMORY, filesystem_type_default="sharedfs")
    assert plan_on(fact(ramdisk=GiB), settings=site, fs_type="ramdisk").guests[0].shape.ramdisk == GiB
    assert plan_on(fact(), settings=site).guests[0].shape.ramdisk == 0


def test_disks_in_memory_are_refused_where_the_site_has_none() -> None:
    """By whom they are asked for: a job, or the site itself."""
    assert refused(RequestError, fact(), fs_type="ramdisk") == (
        "fs_type=ramdisk is not offered: the site has no disks in memory; ask for fs_type=sharedfs"
    )
    site = dataclasses.replace(IN_MEMORY, ramdisk_dir="")
    assert refused(SettingsError, fact(), settings=site) == (
        "filesystem_type_default is ramdisk, but the site has no disks in memory; set ramdisk_dir"
    )


def test_the_file_system_for_disks_in_memory_has_to_hold_them() -> None:
    """Missing or too small for one, the site's mistake; too small for all, the request's; else it is busy."""
    assert refused(StorageError, fact(), settings=IN_MEMORY) == (
        "node n1: there is no directory /memory for disks in memory; "
        "mount a tmpfs there, or correct ramdisk_dir"
    )
    assert refused(SettingsError, fact(ramdisk=GiB - MiB), settings=IN_MEMORY) == (
        "node n1: ramdisk_mb is 1024, and /memory has 1023M; mount a larger tmpfs there, or lower ramdisk_mb"
    )
    small = fact(ramdisk=3 * GiB)
    assert plan_on(small, settings=IN_MEMORY, vms_per_node=3)
    assert refused(RequestError, small, settings=IN_MEMORY, vms_per_node=4) == (
        "node n1: 4 disks of 1G are more than the 3072M for disks in memory here; "
        "ask for fewer guests with vms_per_node=, or for fs_type=sharedfs"
    )
    busy = fact(ramdisk=3 * GiB, guests=2, guests_memory=4 * GiB, guests_ramdisk=2 * GiB)
    assert plan_on(busy, settings=IN_MEMORY)
    assert refused(BusyError, busy, settings=IN_MEMORY, vms_per_node=2) == (
        "node n1: a disk of 1G in memory for 2 guests is more than the 1024M other guests have left of "
        "/memory; try again when other jobs have ended"
    )


def test_what_guests_share_counts_with_the_disks_in_memory_beside_it() -> None:
    """A full file system is an error within a disk's own limit, and the end of who writes what is shared."""
    site = dataclasses.replace(SHARING, filesystem_type_default="ramdisk", ramdisk_mb=1024)
    small = fact(ramdisk=3 * GiB)
    asked: dict[str, Any] = {"settings": site, "unclot": True}
    assert plan_on(small, vms_per_node=2, **asked)
    assert refused(RequestError, small, vms_per_node=3, **asked) == (
        "node n1: 3 disks of 1G with 1G of shared memory are more than the 3072M for disks in memory here; "
        "ask for fewer guests with vms_per_node=, or for fs_type=sharedfs"
    )
    assert refused(StorageError, small, unclot_shmem=4 * GiB, **asked) == (
        "node n1: 4G of shared memory is more than /memory has, 3072M; "
        "mount it with a larger size=, or lower unclot_shmem"
    )
    assert refused(StorageError, fact(), fs_type="sharedfs", **asked) == (
        "node n1: there is no directory /memory for shared memory; "
        "mount a tmpfs there, or correct ramdisk_dir"
    )
    busy = fact(ramdisk=3 * GiB, guests=2, guests_memory=4 * GiB, guests_ramdisk=2 * GiB)
    assert plan_on(busy, fs_type="sharedfs", **asked)
    assert refused(BusyError, busy, fs_type="sharedfs", unclot_shmem=2 * GiB, **asked) == (
        "node n1: 2G of shared memory is more than the 1024M other guests have left of /memory; "
        "try again when other jobs have ended"
    )
    assert "with 1G of shared memory is more than the 1024M" in refused(BusyError, busy, **asked)


def test_guests_are_on_their_nodes_copy_of_the_image_where_it_has_one() -> None:
    """The others on the pool's."""
    plan = plan_on(fact("n1", copy="/copies/a"), fact("n2"))
    assert [guest.base for guest in plan.guests] == ["/copies/a", ""]
    assert plan_from_json(plan_to_json(plan)) == plan
