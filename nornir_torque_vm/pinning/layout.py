"""Where on a node each virtual processor of a job's guests runs, and where their memory lies. Pure.

Rules, the earlier the stronger: nothing outside the job's share; no processor for two virtual ones; no
core for two guests, while there are cores enough; a guest in one NUMA cell, where one has room; a core
for each virtual processor, while there are cores enough, else the threads of a core for neighbours.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from nornir_torque_vm.model import Memory, Placement
from nornir_torque_vm.pinning.topology import Cpu, Topology

Core = tuple[Cpu, ...]
"""Processors of one core that are in the share."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Layout:
    """The cores each guest was given, and whether a virtual processor has a core or a thread of one."""

    guests: tuple[tuple[Core, ...], ...]
    per_core: bool

    def scattered(self) -> int:
        """How many guests are in more than one cell."""
        return sum(len({core[0].cell for core in cores}) > 1 for cores in self.guests)


def place(
    topology: Topology, share: Sequence[int], vcpus: int, ram: Sequence[int], room: Mapping[int, int]
) -> tuple[Placement, ...]:
    """Give each of a job's guests on a node its processors and its memory's cells.

    :param share: the job's processors.
    :param vcpus: virtual processors of each guest.
    :param ram: bytes of each guest's memory; as many as there are guests.
    :param room: cell → bytes that guests may still be bound to there.
    :raises ValueError: the share has fewer processors than the guests have virtual ones.
    """
    if vcpus * len(ram) > len(share):
        raise ValueError(f"{vcpus * len(ram)} virtual processors on {len(share)}")
    cores = topology.cores(set(share))
    threads = tuple((cpu,) for core in cores for cpu in core)
    found = (
        _lay_out(cores, vcpus, ram, room, per_core=True),
        _lay_out(cores, vcpus, ram, room, per_core=False),
    )
    apart = [layout for layout in found if layout is not None]
    best = (
        min(apart, key=_Layout.scattered, default=None)
        or _across(cores, vcpus, len(ram), per_core=False)
        or _lay_out(threads, vcpus, ram, room, per_core=True)
    )
    assert best is not None  # noqa: S101 - single threads always do, their number was looked at above
    given = [_processors(guest, vcpus, per_core=best.per_core) for guest in best.guests]
    taken = {cpu.core for guest in best.guests for core in guest for cpu in core}
    _deal([core for core in cores if core[0].core not in taken], best.guests, [more for _, more in given])
    left, placed = dict(room), []
    for (pins, emulator), size in zip(given, ram, strict=True):
        cpus = {cpu for pin in pins for cpu in pin}
        cells, mode = memory_of(topology, cpus, size, left)
        placed.append(
            Placement(
                cpus=tuple(sorted(cpus | set(emulator))),
                vcpus=pins,
                emulator=tuple(sorted(emulator or cpus)),
                cells=cells,
                memory=mode,
                exclusive=True,
            )
        )
    return tuple(placed)


def memory_of(
    topology: Topology, cpus: set[int], ram: int, room: dict[int, int]
) -> tuple[tuple[int, ...], Memory | None]:
    """Which cells a guest's memory comes from and how strictly; takes it from ``room``.

    Strictly from the cells of its processors where it fits there. Where it does not: from its one cell
    first and then from others, or from its several cells by turns. Nothing to choose on one cell.
    """
    cells = tuple(dict.fromkeys(cpu.cell for cpu in topology.cpus if cpu.id in cpus))
    if len({cell for cell, _ in topology.memory}) < 2:
        return (), None
    each = -(-ram // len(cells))
    fits = all(room.get(cell, 0) >= each for cell in cells)
    for cell in cells:
        room[cell] = room.get(cell, 0) - each
    if len(cells) > 1:
        return cells, Memory.INTERLEAVE
    return cells, Memory.STRICT if fits else Memory.PREFERRED


def _lay_out(
    cores: Sequence[Core], vcpus: int, ram: Sequence[int], room: Mapping[int, int], *, per_core: bool
) -> _Layout | None:
    """Give guests whole cores: first within cells with room for the memory, then within cells, then across.

    None when the cores do not suffice.
    """
    left, space = list(cores), dict(room)
    guests: list[tuple[Core, ...]] = []
    cells = tuple(dict.fromkeys(core[0].cell for core in cores))
    for with_memory in (True, False):
        for cell in cells:
            while len(guests) < len(ram) and (not with_memory or space.get(cell, 0) >= ram[len(guests)]):
                got = _take([core for core in left if core[0].cell == cell], vcpus, per_core=per_core)
                if got is None:
                    break
                space[cell] = space.get(cell, 0) - ram[len(guests)]
                left = [core for core in left if core not in got]
                guests.append(got)
    rest = _across(left, vcpus, len(ram) - len(guests), per_core=per_core)
    return None if rest is None else _Layout((*guests, *rest.guests), per_core)


def _across(cores: Sequence[Core], vcpus: int, guests: int, *, per_core: bool) -> _Layout | None:
    """Give guests whole cores of whatever cells; None when the cores do not suffice.

    They may suffice where they do not cell by cell: a guest in one cell can waste a thread that it lacks in
    another.
    """
    left, found = list(cores), list[tuple[Core, ...]]()
    while len(found) < guests:
        got = _take(left, vcpus, per_core=per_core)
        if got is None:
            return None
        left = [core for core in left if core not in got]
        found.append(got)
    return _Layout(tuple(found), per_core)


def _take(cores: Sequence[Core], vcpus: int, *, per_core: bool) -> tuple[Core, ...] | None:
    """Cores for one guest, in order; None when they do not suffice.

    By threads: the largest core that is not more than what is missing, else the smallest there is, so
    that cores of which the share has one thread are used up as well.
    """
    if per_core:
        return tuple(cores[:vcpus]) if len(cores) >= vcpus else None
    if sum(map(len, cores)) < vcpus:
        return None
    left, taken, missing = list(cores), list[Core](), vcpus
    while missing > 0:
        fitting = [core for core in left if len(core) <= missing]
        core = max(fitting, key=len) if fitting else min(left, key=len)
        left.remove(core)
        taken.append(core)
        missing -= len(core)
    return tuple(core for core in cores if core in taken)


def _processors(
    cores: Sequence[Core], vcpus: int, *, per_core: bool
) -> tuple[tuple[tuple[int, ...], ...], list[int]]:
    """The processors of each virtual processor, and those left over, for the emulator."""
    if per_core:
        return tuple(tuple(cpu.id for cpu in core) for core in cores), []
    threads = [cpu.id for core in cores for cpu in core]
    return tuple((cpu,) for cpu in threads[:vcpus]), threads[vcpus:]


def _deal(spare: Sequence[Core], guests: Sequence[Sequence[Core]], emulators: Sequence[list[int]]) -> None:
    """Give cores no guest was given to the emulators, to those in the same cell first, evenly."""
    homes = [{core[0].cell for core in cores} for cores in guests]
    for core in spare:
        near = [number for number, home in enumerate(homes) if core[0].cell in home]
        poorest = min(near or range(len(guests)), key=lambda number: len(emulators[number]))
        emulators[poorest] += [cpu.id for cpu in core]
