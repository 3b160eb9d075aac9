"""Node facts from libvirt's capabilities: what the survey tells the planner.

The documents here were written by libvirt 9.0.0 itself: its QEMU driver on a machine with one NUMA cell
and no KVM, and its test driver. Those of other machines are read in test_topology.
"""

from __future__ import annotations

import pathlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.capabilities import Capabilities, node_facts, parse_capabilities
from nornir_torque_vm.errors import HypervisorError

DATA = pathlib.Path(__file__).parent.parent / "data" / "capabilities"
GIB = 1024**3


def recorded(name: str) -> Capabilities:
    return parse_capabilities((DATA / name).read_text())


def test_a_qemu_node_without_kvm_offers_emulation_only() -> None:
    """Domain types and emulators are listed per architecture, as libvirt found them."""
    found = recorded("qemu-1-cell.xml")
    assert found.domain_types == {"i686": ("qemu",), "x86_64": ("qemu",)}
    assert found.emulators["x86_64"] == "/usr/bin/qemu-system-x86_64"


def test_cpus_and_memory_are_summed_over_the_numa_cells() -> None:
    """Two cells of eight CPUs with 2 and 4 GiB make one node of 16 CPUs and 6 GiB."""
    found = recorded("test-2-cells.xml")
    assert (found.cpus, found.memory) == (16, 6 * GIB)


def test_paravirtual_guests_do_not_count_as_an_architecture_we_can_use() -> None:
    """Only ``hvm`` entries run an unmodified image; the xen one of the test driver is left out."""
    text = """<capabilities><guest><os_type>xen</os_type><arch name='x86_64'><domain type='xen'/></arch>
    </guest></capabilities>"""
    assert parse_capabilities(text).domain_types == {}


def test_an_emulator_named_inside_a_domain_is_found() -> None:
    """Older libvirt puts the emulator under the domain type instead of the architecture."""
    text = """<capabilities><guest><os_type>hvm</os_type><arch name='x86_64'><domain type='qemu'/>
    <domain type='kvm'><emulator>/usr/libexec/qemu-kvm</emulator></domain></arch></guest></capabilities>"""
    found = parse_capabilities(text)
    assert found.emulators == {"x86_64": "/usr/libexec/qemu-kvm"}
    assert found.domain_types == {"x86_64": ("qemu", "kvm")}


@pytest.mark.parametrize(("unit", "factor"), [("KiB", 1024), ("MiB", 1024**2), ("GB", 10**9), ("b", 1)])
def test_memory_units_are_libvirts(unit: str, factor: int) -> None:
    """``KiB`` and ``KB`` differ, as in libvirt's own scale suffixes."""
    cell = f"<cell id='0'><memory unit='{unit}'>7</memory><cpus num='0'/></cell>"
    text = f"<capabilities><host><topology><cells>{cell}</cells></topology></host></capabilities>"
    assert parse_capabilities(text).memory == 7 * factor


def test_without_topology_there_is_nothing_to_count() -> None:
    """Zero means not told, so that the survey asks another call."""
    found = parse_capabilities("<capabilities><host/></capabilities>")
    assert (found.cpus, found.memory) == (0, 0)


@pytest.mark.parametrize("text", ["", "<capabilities>", "<domainCapabilities/>", "no XML"])
def test_anything_else_is_a_hypervisor_error(text: str) -> None:
    """Whatever a broken libvirtd sends becomes one of our errors, never a traceback."""
    with pytest.raises(HypervisorError, match="capabilities"):
        parse_capabilities(text)


def test_the_page_cache_counts_as_free_memory() -> None:
    """Free memory is what guests can get: free, buffers and cache together."""
    stats = {"total": 8 * GIB // 1024, "free": GIB // 1024, "buffers": 1024, "cached": 2048}
    facts = node_facts("n1", recorded("qemu-1-cell.xml"), memory_stats=stats)
    assert facts.memory_free == GIB + 3 * 1024**2


def test_the_kernel_knows_the_total_better_than_the_numa_cells() -> None:
    """Memory plugged in after boot can be missing from the cells, so ``getMemoryStats`` decides."""
    found = recorded("qemu-1-cell.xml")
    assert (
        node_facts("n1", found, memory_stats={"total": 24684092, "free": 23277228}).memory == 24684092 * 1024
    )
    assert node_facts("n1", found, memory_stats={"free": 1}).memory == found.memory


@given(st.lists(st.integers(0, 8 * GIB)))
def test_without_memory_statistics_free_is_what_is_not_promised(guests: list[int]) -> None:
    """The test driver has no statistics: total minus our guests, and never below zero."""
    found = recorded("test-2-cells.xml")
    facts = node_facts("n1", found, guests_memory=iter(guests))
    assert facts.memory_free == max(0, found.memory - sum(guests))
    assert (facts.guests, facts.guests_memory) == (len(guests), sum(guests))
