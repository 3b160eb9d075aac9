"""What holds on every machine for all jobs on it: shares apart, and guests as close as they can be."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from topology_kit import EXAMPLES, GIB, RECORDINGS, Machine, Recording, machines

from nornir_torque_vm.model import Memory, Placement
from nornir_torque_vm.pinning.layout import place
from nornir_torque_vm.pinning.share import kept_for_host, of_slots, usable
from nornir_torque_vm.pinning.topology import Topology

Host = Machine | Recording
Given = tuple[Topology, tuple[int, ...], int, list[int], dict[int, int]]
"""What ``place`` takes."""
MADE_UP = "made up"
HOSTS: dict[str, st.SearchStrategy[Host]] = {
    MADE_UP: machines(),
    **{found.name: st.just(found) for found in RECORDINGS},
}


@dataclasses.dataclass(frozen=True)
class Site:
    """A node with the slots of several jobs on it."""

    machine: Host
    host_count: int
    np: int
    jobs: tuple[tuple[int, ...], ...]

    @property
    def topology(self) -> Topology:
        return self.machine.topology()

    @functools.cached_property
    def reserved(self) -> frozenset[int]:
        return kept_for_host(self.topology, self.host_count)

    def share(self, slots: Sequence[int]) -> tuple[int, ...]:
        return of_slots(self.topology, self.reserved, slots, self.np)


@st.composite
def sites(draw: st.DrawFn, hosts: st.SearchStrategy[Host]) -> Site:
    """A machine, what its host keeps, any ``np`` it can bear, and slots dealt to jobs in any way."""
    machine = draw(hosts)
    host = draw(st.integers(0, 3))
    free = usable(machine.topology(), kept_for_host(machine.topology(), host))
    assume(free)
    np = draw(st.integers(1, len(free)))
    owners = draw(st.lists(st.integers(0, 2), min_size=np, max_size=np))
    jobs = tuple(tuple(slot for slot, owner in enumerate(owners) if owner == job) for job in range(3))
    return Site(machine, host, np, tuple(slots for slots in jobs if slots))


@st.composite
def jobs_with_guests(draw: st.DrawFn, hosts: st.SearchStrategy[Host]) -> Given:
    """The share of one of the jobs, and guests that fit into it."""
    site = draw(sites(hosts))
    share = site.share(draw(st.sampled_from(site.jobs)))
    guests = draw(st.integers(1, min(4, len(share))))
    vcpus = draw(st.integers(1, len(share) // guests))
    ram = draw(st.integers(1, 2 * GIB))
    room = {cell: draw(st.integers(-GIB, 8 * GIB)) for cell in range(site.machine.cells)}
    return site.topology, share, vcpus, [ram] * guests, room


def holds(
    made: Callable[[st.SearchStrategy[Host]], st.SearchStrategy[Any]], *more: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[[str], None]]:
    """Tests a rule on what ``made`` makes of made-up machines and, less often, of each recorded one."""

    def decorate(rule: Callable[..., None]) -> Callable[[str], None]:
        @pytest.mark.parametrize("host", HOSTS)
        def test(host: str) -> None:
            count, ignored = (
                (EXAMPLES, []) if host == MADE_UP else (EXAMPLES // 10, [HealthCheck.filter_too_much])
            )
            run = given(made(HOSTS[host]), *more)(rule)
            settings(max_examples=count, suppress_health_check=ignored)(run)()

        test.__doc__ = rule.__doc__
        return test

    return decorate


def cores_of(topology: Topology, cpus: Collection[int]) -> set[int]:
    return {cpu.core for cpu in topology.cpus if cpu.id in cpus}


def cells_of(topology: Topology, cpus: Sequence[int]) -> set[int]:
    return {cpu.cell for cpu in topology.cpus if cpu.id in cpus}


def pinned(place: Placement) -> list[int]:
    """Every processor of every virtual one."""
    return [cpu for pin in place.vcpus for cpu in pin]


@holds(sites)
def test_jobs_never_overlap_and_never_touch_the_hosts_cores_or_what_is_offline(site: Site) -> None:
    """Bare-metal jobs hold slots as well, so this is true of them too."""
    shares = [set(site.share(slots)) for slots in site.jobs]
    assert all(not one & other for one, other in combinations(shares, 2))
    everything = set().union(*shares)
    assert everything <= set(site.machine.online)
    assert not cores_of(site.topology, everything) & cores_of(site.topology, site.reserved)
    assert len(site.reserved) >= min(site.host_count, len(site.machine.online))


@holds(sites)
def test_every_slot_has_a_processor_and_together_they_have_all(site: Site) -> None:
    """And a set of slots has what its slots have, one by one: nothing depends on who else is there."""
    slots = [set(site.share([slot])) for slot in range(site.np)]
    assert all(slots)
    assert set().union(*slots) == set(usable(site.topology, site.reserved))
    for job in site.jobs:
        assert set(site.share(job)) == set().union(*(slots[slot] for slot in job))


@holds(sites)
def test_a_slot_has_whole_cores_where_there_are_enough_cores(site: Site) -> None:
    """So that two jobs share a core only where the site gives out its threads."""
    cores = site.topology.cores(usable(site.topology, site.reserved))
    if site.np <= len(cores):
        used = [cores_of(site.topology, site.share(slots)) for slots in site.jobs]
        assert all(not one & other for one, other in combinations(used, 2))


@holds(jobs_with_guests)
def test_guests_stay_in_the_share_and_no_processor_is_taken_twice(
    given_: Given,
) -> None:
    """Emulators too keep to the share, and off the processors of other guests."""
    topology, share, vcpus, ram, room = given_
    places = place(topology, share, vcpus, ram, room)
    assert [len(found.vcpus) for found in places] == [vcpus] * len(ram)
    taken = [cpu for found in places for cpu in pinned(found)]
    assert len(taken) == len(set(taken))
    for found in places:
        assert all(found.vcpus)
        assert found.emulator
        assert set(found.cpus) == {*pinned(found), *found.emulator} <= set(share)
        assert found.exclusive
    for one, other in combinations(places, 2):
        assert not set(one.cpus) & set(other.cpus)


@holds(jobs_with_guests)
def test_no_core_is_shared_by_guests_while_there_are_cores_enough(
    given_: Given,
) -> None:
    """Whether there are is found out by trying everything; cores of four threads are left out of that."""
    topology, share, vcpus, ram, room = given_
    sizes = [len(core) for core in topology.cores(set(share))]
    assume(max(sizes) <= 2)
    used = [cores_of(topology, found.cpus) for found in place(topology, share, vcpus, ram, room)]
    apart = all(not one & other for one, other in combinations(used, 2))
    assert apart == suffices(sizes.count(2), sizes.count(1), len(ram), vcpus)


def test_a_guest_in_two_cells_is_better_than_a_core_for_two_guests() -> None:
    """One cell has no room for a guest, the other has for one and a core more; together they have for two."""
    topology = Machine(cells=2, cores=3, threads=2).topology()
    share = (0, 2, 3, 4, 6, 7, 8, 9, 10, 11)  # cores of 1, 2 and 1 threads, and of 2, 2 and 2
    used = [cores_of(topology, found.cpus) for found in place(topology, share, 5, [1, 1], {})]
    assert not used[0] & used[1]


@functools.cache
def suffices(pairs: int, singles: int, guests: int, vcpus: int) -> bool:
    """Whether so many cores of two and of one thread can be dealt to guests that need so many threads."""
    if not guests:
        return True
    return any(
        suffices(pairs - two, singles - one, guests - 1, vcpus)
        for two in range(min(pairs, (vcpus + 1) // 2) + 1)
        if (one := max(0, vcpus - 2 * two)) <= singles
    )


@holds(jobs_with_guests)
def test_threads_of_a_core_are_neighbours_of_one_guest(
    given_: Given,
) -> None:
    """A virtual processor has all of a core that the share has of it, or one thread.

    In the second case its guest leaves no other thread of the core to anybody.
    """
    topology, share, vcpus, ram, room = given_
    places = place(topology, share, vcpus, ram, room)
    cores = [{cpu.id for cpu in core} for core in topology.cores(set(share))]
    if all(set(pin) in cores for found in places for pin in found.vcpus):
        return
    assert all(len(pin) == 1 for found in places for pin in found.vcpus)
    used = [cores_of(topology, found.cpus) for found in places]
    if all(not one & other for one, other in combinations(used, 2)):
        for found in places:
            touched = set().union(*(core for core in cores if core & set(pinned(found))))
            assert touched <= set(found.cpus)


@holds(jobs_with_guests)
def test_as_many_guests_as_possible_are_in_one_cell(
    given_: Given,
) -> None:
    """Where the share has whole cores of one size: how many a cell can take is then a division."""
    topology, share, vcpus, ram, room = given_
    cores = topology.cores(set(share))
    (size, *others) = {len(core) for core in cores}
    assume(not others)
    need = -(-vcpus // size)
    assume(len(cores) >= need * len(ram))
    cells = [core[0].cell for core in cores]
    possible = min(len(ram), sum(cells.count(cell) // need for cell in set(cells)))
    places = place(topology, share, vcpus, ram, room)
    assert sum(len(cells_of(topology, pinned(found))) == 1 for found in places) == possible


@holds(jobs_with_guests)
def test_memory_is_bound_strictly_only_where_it_fits(
    given_: Given,
) -> None:
    """Memory comes from the cells of the guest's own processors; on one cell there is nothing to say."""
    topology, share, vcpus, ram, room = given_
    left = dict(room)
    for found, size in zip(place(topology, share, vcpus, ram, room), ram, strict=True):
        if len(topology.memory) == 1:
            assert (found.cells, found.memory) == ((), None)
            continue
        assert set(found.cells) == cells_of(topology, pinned(found))
        if len(found.cells) > 1:
            assert found.memory is Memory.INTERLEAVE
        else:
            fits = left[found.cells[0]] >= size
            assert found.memory is (Memory.STRICT if fits else Memory.PREFERRED)
        for cell in found.cells:
            left[cell] -= -(-size // len(found.cells))


@holds(jobs_with_guests, st.randoms())
def test_the_same_question_has_the_same_answer(given_: Given, random: object) -> None:
    """In whatever order the share is told: hooks on several hosts have to agree."""
    topology, share, vcpus, ram, room = given_
    shuffled = list(share)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert place(topology, share, vcpus, ram, room) == place(topology, shuffled, vcpus, ram, room)
