"""Machines for the pinning tests: recorded ones, and made-up ones written as libvirt describes those."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib

from hypothesis import strategies as st

from nornir_torque_vm.capabilities import parse_capabilities
from nornir_torque_vm.pinning.topology import Topology, cpus_text

DATA = pathlib.Path(__file__).parent.parent / "data" / "capabilities"
GIB = 1 << 30
EXAMPLES = int(os.environ.get("TORQUE_VM_EXAMPLES", "100"))
"""Examples of each property of pinning."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine: cells of cores of threads, and which processors are switched off.

    :param numbering: how firmware numbers threads: ``near`` gives a core's threads neighbouring numbers,
        ``far`` numbers all first threads before all second ones, ``round`` deals cores to cells in turn.
    :param late: libvirtd had looked before processors were switched off; it lists them still.
    """

    cells: int = 1
    cores: int = 4
    threads: int = 1
    numbering: str = "near"
    offline: frozenset[int] = frozenset()
    late: bool = False

    def number(self, cell: int, core: int, thread: int) -> int:
        """The number of one thread of one core of one cell."""
        total = self.cells * self.cores
        place = core * self.cells + cell if self.numbering == "round" else cell * self.cores + core
        return place * self.threads + thread if self.numbering == "near" else thread * total + place

    @property
    def count(self) -> int:
        """How many processors there are, online or not."""
        return self.cells * self.cores * self.threads

    @property
    def online(self) -> tuple[int, ...]:
        """Numbers of those that are online."""
        return tuple(number for number in range(self.count) if number not in self.offline)

    def xml(self) -> str:
        """The capabilities document: what is offline is not listed, or as a core of its own in socket 0."""
        cells = "".join(self._cell(cell) for cell in range(self.cells))
        topology = f"<topology><cells num='{self.cells}'>{cells}</cells></topology>"
        return f"<capabilities><host>{topology}</host></capabilities>"

    def topology(self) -> Topology:
        """What is read from the document and the online map."""
        return _read(self)

    def _cell(self, cell: int) -> str:
        listed = {}
        for core in range(self.cores):
            numbers = [self.number(cell, core, thread) for thread in range(self.threads)]
            siblings = cpus_text(number for number in numbers if number not in self.offline)
            for number in numbers:
                place, near = ((0, 0), number) if number in self.offline else ((cell, core), siblings)
                if number not in self.offline or self.late:
                    listed[number] = (
                        f"<cpu id='{number}' socket_id='{place[0]}' die_id='0' core_id='{place[1]}' "
                        f"siblings='{near}'/>"
                    )
        cpus = "".join(listed[number] for number in sorted(listed))
        return (
            f"<cell id='{cell}'><memory unit='KiB'>{(GIB >> 10) * (cell + 1)}</memory>"
            f"<cpus num='{len(listed)}'>{cpus}</cpus></cell>"
        )


@dataclasses.dataclass(frozen=True)
class Recording:
    """A machine as libvirt's QEMU driver described it; how that was recorded is told beside the files."""

    name: str

    @property
    def online(self) -> tuple[int, ...]:
        """Numbers of those that were online."""
        letters = (DATA / f"{self.name}.cpumap").read_text().strip()
        return tuple(number for number, letter in enumerate(letters) if letter == "y")

    def xml(self) -> str:
        """The capabilities document."""
        return (DATA / f"{self.name}.xml").read_text()

    def topology(self) -> Topology:
        """What is read from the document and the online map."""
        return _read(self)

    @property
    def cells(self) -> int:
        """How many there were."""
        return len(self.topology().memory)


RECORDINGS = tuple(Recording(path.stem) for path in sorted(DATA.glob("*.cpumap")))


@functools.lru_cache(maxsize=64)
def _read(machine: Machine | Recording) -> Topology:
    """One example asks for it many times."""
    return parse_capabilities(machine.xml(), machine.online).topology


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    """Machines of 1, 2 or 8 cells, with and without threads, with and without processors switched off."""
    made = Machine(
        cells=draw(st.sampled_from([1, 2, 8])),
        cores=draw(st.integers(1, 6)),
        threads=draw(st.sampled_from([1, 2, 2, 4])),
        numbering=draw(st.sampled_from(["near", "far", "round"])),
    )
    off = draw(st.sets(st.integers(1, made.count), max_size=made.count // 3))
    return dataclasses.replace(made, offline=frozenset(off - {made.count}), late=draw(st.booleans()))
