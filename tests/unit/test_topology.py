"""Processors as libvirt lists them: what is online, which are of one core, and lists of numbers."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from topology_kit import DATA, GIB, RECORDINGS, Machine, Recording

from nornir_torque_vm.capabilities import parse_capabilities
from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.pinning.share import kept_for_host, of_slots, usable
from nornir_torque_vm.pinning.topology import Cpu, cpus_of, cpus_text, flat

TWO_CELLS = Machine(cells=2, cores=2, threads=2, numbering="far")
"""Cores 0,4 and 1,5 in the first cell, 2,6 and 3,7 in the second."""
TWO_CELLS_OFF = frozenset({2, 7, 12, 13})
MACHINES = {
    "1-cell": Machine(cells=1, cores=4),
    "1-cell-smt": Machine(cells=1, cores=4, threads=2),
    "1-cell-smt-offline": Machine(cells=1, cores=4, threads=2, offline=frozenset({1, 4, 5})),
    "2-cells-smt": Machine(cells=2, cores=4, threads=2),
    "2-cells-smt-offline": Machine(cells=2, cores=4, threads=2, offline=TWO_CELLS_OFF),
    "2-cells-smt-offline-later": Machine(cells=2, cores=4, threads=2, offline=TWO_CELLS_OFF, late=True),
    "8-cells": Machine(cells=8, cores=2),
    "8-cells-offline": Machine(cells=8, cores=2, offline=frozenset({3, 14, 15})),
    "8-cells-smt": Machine(cells=8, cores=2, threads=2),
    "8-cells-smt-offline": Machine(
        cells=8, cores=2, threads=2, offline=frozenset({5, 8, 9, 18, 28, 29, 30, 31})
    ),
}
"""What the recorded machines were, but for two of them."""
OTHERS = {"2-cells", "2-cells-smt-online-later"}


def test_recorded_machines_are_read() -> None:
    """Written by libvirt 9.0.0: its QEMU driver on two cores, its test driver with two cells of eight."""
    real = parse_capabilities((DATA / "qemu-1-cell.xml").read_text()).topology
    assert real.cpus == (Cpu(0, 0, 0), Cpu(1, 0, 1))
    assert real.memory == ((0, 4942036 << 10),)
    tested = parse_capabilities((DATA / "test-2-cells.xml").read_text()).topology
    assert [cpu.cell for cpu in tested.cpus] == [0] * 8 + [1] * 8
    assert [size >> 30 for _, size in tested.memory] == [2, 4]


def made_as(machine: Machine) -> tuple[Cpu, ...]:
    """A machine with threads that are neighbours, not read from any document."""
    online = set(machine.online)
    cores = [
        (cell, sorted(online & {machine.number(cell, core, thread) for thread in range(machine.threads)}))
        for cell in range(machine.cells)
        for core in range(machine.cores)
    ]
    return tuple(Cpu(number, cell, core[0], cell) for cell, core in cores for number in core)


def test_every_recording_is_of_a_known_machine() -> None:
    """So that none is left out below."""
    assert {found.name for found in RECORDINGS} == MACHINES.keys() | OTHERS


@pytest.mark.parametrize("name", MACHINES)
def test_recorded_machines_are_what_they_were_made_as(name: str) -> None:
    """Cells, sockets, cores and threads; also without the online map, as long as libvirtd came last."""
    machine, recording = MACHINES[name], Recording(name)
    assert recording.online == machine.online
    assert recording.topology().cpus == made_as(machine)
    assert re.findall("<cpu id.*?>", recording.xml()) == re.findall("<cpu id.*?>", machine.xml())
    sizes = [size for _, size in recording.topology().memory]
    assert len(sizes) == machine.cells
    assert all(size > 128 << 20 for size in sizes)
    alone = {cpu.id for cpu in parse_capabilities(recording.xml()).topology.cpus}
    assert alone == set(range(machine.count) if machine.late else machine.online)


def test_sockets_may_be_dealt_to_cells_in_turn() -> None:
    """Then the numbers of a cell's processors are not one range."""
    cpus = Recording("2-cells").topology().cpus
    assert [(cpu.id, cpu.cell, cpu.socket) for cpu in cpus] == [
        (0, 0, 0), (1, 0, 0), (4, 0, 2), (5, 0, 2), (2, 1, 1), (3, 1, 1), (6, 1, 3), (7, 1, 3),
    ]  # fmt: skip


def test_a_processor_that_came_back_is_not_there_before_libvirtd_is_started_again() -> None:
    """2 and 12 are online; the first is a sibling of 3, which is a core of its own meanwhile."""
    recording = Recording("2-cells-smt-online-later")
    seen = [cpu.id for cpu in recording.topology().cpus]
    assert set(recording.online) - set(seen) == {2, 12}
    assert [[cpu.id for cpu in core] for core in recording.topology().cores(seen)] == [
        [0, 1], [3], [4, 5], [6], [8, 9], [10, 11], [14, 15],
    ]  # fmt: skip


def test_topology_order_is_by_cell_then_core_then_thread() -> None:
    """Whatever way the firmware numbers threads."""
    topology = TWO_CELLS.topology()
    assert [cpu.id for cpu in topology.cpus] == [0, 4, 1, 5, 2, 6, 3, 7]
    assert [cpu.core for cpu in topology.cpus] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert topology.memory == ((0, GIB), (1, 2 * GIB))


def test_offline_processors_do_not_count() -> None:
    """By the map of what is online; without one, where their siblings are not told."""
    machine = Machine(cells=1, cores=3, threads=2, offline=frozenset({3, 4}), late=True)
    assert [cpu.id for cpu in machine.topology().cpus] == [0, 1, 2, 5]
    text = machine.xml().replace("siblings='3'", "").replace("siblings='4'", "")
    found = parse_capabilities(text)
    assert [cpu.id for cpu in found.topology.cpus] == [0, 1, 2, 5]
    assert found.cpus == 4


def test_a_core_whose_first_thread_is_offline_is_still_a_core() -> None:
    """It is called after the lowest thread that is left."""
    machine = Machine(cores=2, threads=2, offline=frozenset({2}))
    assert [len(core) for core in machine.topology().cores({0, 1, 3})] == [2, 1]


def test_without_siblings_every_processor_is_a_core() -> None:
    """As libvirt writes it where the kernel does not tell; a mask alone says what is online."""
    cpus = "".join(f"<cpu id='{number}'/>" for number in range(4))
    cell = f"<cell id='0'><memory unit='KiB'>1024</memory><cpus num='4'>{cpus}</cpus></cell>"
    text = f"<capabilities><host><topology><cells>{cell}</cells></topology></host></capabilities>"
    assert [cpu.core for cpu in parse_capabilities(text).topology.cpus] == [0, 1, 2, 3]
    assert [cpu.id for cpu in parse_capabilities(text, {1, 2}).topology.cpus] == [1, 2]


def test_the_host_keeps_whole_cores() -> None:
    """One processor of it means both threads of the first core, and three mean two cores."""
    topology = TWO_CELLS.topology()
    assert [sorted(kept_for_host(topology, count)) for count in (0, 1, 2, 3)] == [
        [], [0, 4], [0, 4], [0, 1, 4, 5],
    ]  # fmt: skip
    assert usable(topology, kept_for_host(topology, 1)) == (1, 5, 2, 6, 3, 7)
    assert kept_for_host(topology, 99) == frozenset(range(8))


def test_slots_are_cores_where_there_are_as_many_and_threads_where_not() -> None:
    """np=4: a core each; np=8: a thread each; np=3 on four cores: the last slot has two."""
    topology = TWO_CELLS.topology()
    assert of_slots(topology, (), [0, 3], 4) == (0, 4, 3, 7)
    assert of_slots(topology, (), [0, 3], 8) == (0, 5)
    assert [of_slots(topology, (), [slot], 3) for slot in range(3)] == [(0, 4), (1, 5), (2, 6, 3, 7)]


def test_slots_that_cannot_be_told_apart_have_no_share() -> None:
    """More slots than processors, or one that the node has not got: said with numbers."""
    topology = flat(range(4))
    with pytest.raises(ValueError, match=r"^TORQUE gives out 5 slots here \(np=5\) on 4 processors$"):
        of_slots(topology, (), [0], 5)
    with pytest.raises(ValueError, match=r"^TORQUE gives out 4 slots here \(np=4\) on 3 processors$"):
        of_slots(topology, {0}, [0], 4)
    with pytest.raises(ValueError, match=r"^the job has slot 4 of a node with np=4$"):
        of_slots(topology, (), [4], 4)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("", ()), ("3", (3,)), ("0-3,8", (0, 1, 2, 3, 8)), ("0-3,^2", (0, 1, 3)), (" 1 ", (1,))],
)
def test_lists_of_processors(text: str, cpus: tuple[int, ...]) -> None:
    """As libvirt writes them, with what is taken out again."""
    assert cpus_of(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-", "-1", "3-2", "1,,2", "0-99999999", "65536", "1 2", "٣"])
def test_what_is_no_list_of_processors(text: str) -> None:
    """Refused, however large it claims to be."""
    with pytest.raises(HypervisorError, match="is no list of processors"):
        cpus_of(text)


@given(st.sets(st.integers(0, 200)))
def test_a_list_is_read_as_it_was_written(cpus: set[int]) -> None:
    """In the shortest form of ranges."""
    assert cpus_of(cpus_text(cpus)) == tuple(sorted(cpus))
