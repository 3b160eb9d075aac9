"""A node's processors and memory as its hardware groups them, read from libvirt's capabilities. Pure.

Format: https://libvirt.org/formatcaps.html, ``host/topology``. Each ``<cpu>`` of a cell names its socket,
its core and its ``siblings``, the processors of the same core. A processor that was offline when libvirtd
first looked is not listed, also when it is online now. One that was switched off later is listed still, as
a core of its own in socket 0 (recorded with libvirt 9.0: tests/data/capabilities), so the node's online map
is asked for as well.
"""

from __future__ import annotations

import dataclasses
import re
import xml.etree.ElementTree as ET
from collections.abc import Collection, Iterable

from nornir_torque_vm.errors import HypervisorError

HIGHEST_CPU = 65_535
"""No node has a processor above this; it bounds what a damaged ``0-999999999`` can cost."""

_PART = re.compile(r"(\^?)([0-9]{1,6})(?:-([0-9]{1,6}))?")


@dataclasses.dataclass(frozen=True, slots=True)
class Cpu:
    """One logical processor that is online. ``core`` is the lowest processor of its core."""

    id: int
    cell: int
    core: int
    socket: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Topology:
    """Processors in topology order: by NUMA cell, socket, core, and number. Memory in bytes by cell."""

    cpus: tuple[Cpu, ...]
    memory: tuple[tuple[int, int], ...] = ()
    """Cell and its memory, for every cell of the node, also one without processors."""

    def cores(self, among: Collection[int]) -> tuple[tuple[Cpu, ...], ...]:
        """The cores that have a processor in ``among``, each with those processors, in topology order."""
        found: dict[int, list[Cpu]] = {}
        for cpu in self.cpus:
            if cpu.id in among:
                found.setdefault(cpu.core, []).append(cpu)
        return tuple(tuple(core) for core in found.values())


def make_topology(cpus: Iterable[Cpu], memory: Iterable[tuple[int, int]] = ()) -> Topology:
    """Return a topology with the processors put into order."""
    return Topology(
        tuple(sorted(cpus, key=lambda cpu: (cpu.cell, cpu.socket, cpu.core, cpu.id))), tuple(memory)
    )


def flat(online: Iterable[int], memory: int = 0) -> Topology:
    """A topology of which nothing is known but the processors: one cell, every one a core of its own."""
    return make_topology((Cpu(number, 0, number) for number in online), ((0, memory),) if memory else ())


def read_topology(cells: Iterable[tuple[ET.Element, int]], online: Collection[int] | None) -> Topology:
    """Read the ``<cell>`` elements of a capabilities document, each with its memory in bytes.

    :param online: numbers of the processors that are online; None when the driver does not tell: then
        those without ``siblings`` count as offline, unless all are.
    :raises HypervisorError: a number that is none.
    """
    cells = list(cells)
    listed = [(int(cell.get("id", "0")), cpu) for cell, _ in cells for cpu in cell.findall("cpus/cpu")]
    told = any(cpu.get("siblings") for _, cpu in listed)
    found = []
    for cell, cpu in listed:
        number, siblings = int(cpu.get("id", "-1")), cpu.get("siblings", "")
        if (told and not siblings) if online is None else number not in online:
            continue
        core = min(cpus_of(siblings), default=number)
        found.append(Cpu(number, cell, core, int(cpu.get("socket_id", "0"))))
    return make_topology(found, ((int(cell.get("id", "0")), memory) for cell, memory in cells))


def cpus_of(text: str) -> tuple[int, ...]:
    """The processors of a list as libvirt writes it, ``0-3,8,^2``, ascending; none for an empty text.

    :raises HypervisorError: no such list.
    """
    found: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[2]), int(match[3] or match[2])) if match else (1, 0)
        if match is None or not first <= last <= HIGHEST_CPU:
            raise HypervisorError(f"{text[:80]!r} is no list of processors")
        numbers = set(range(first, last + 1))
        found = found - numbers if match[1] else found | numbers
    return tuple(sorted(found))


def cpus_text(cpus: Iterable[int]) -> str:
    """Return processors as libvirt reads them: ``0-3,8``."""
    runs: list[list[int]] = []
    for number in sorted(set(cpus)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
