"""Where on their nodes a plan's guests run: the job's share, the user's wish, and what others hold. Pure.

``true`` and a user's file bind every virtual processor; ``false`` lets a guest float, within the job's
share. Where nobody knows the share (no TORQUE told), what was asked for by name is refused; the site's
default then floats, off what other jobs' guests hold, and says why.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import BusyError, HypervisorError, InventoryError, RequestError
from nornir_torque_vm.model import FileRef, Guest, Job, Node, NodeFacts, Placement
from nornir_torque_vm.pinning.layout import memory_of, place
from nornir_torque_vm.pinning.pinfile import EMULATOR, PinMap, check_pins
from nornir_torque_vm.pinning.share import kept_for_host, of_slots, usable
from nornir_torque_vm.pinning.topology import Topology, cpus_text
from nornir_torque_vm.request import Request
from nornir_torque_vm.sizes import UNITS

UNTOLD = "TORQUE did not tell which of the node's slots the job has"


@dataclasses.dataclass(frozen=True, slots=True)
class Wish:
    """How a job's guests shall be pinned.

    :param asked: whether the user asked for it; the site's default otherwise.
    :param pins: the user's own mapping.
    """

    pinned: bool
    asked: bool = False
    pins: PinMap | None = None


def wish_of(request: Request, settings: Settings, pins: PinMap | None) -> Wish:
    """What the request and the site want.

    :param pins: what the file says that the request names.
    :raises RequestError: it names one that was not read.
    """
    asked = request.vcpu_pinning
    if isinstance(asked, FileRef):
        if pins is None:
            what = "the pinning file has not been read"
            raise RequestError(what, hint="ask for vcpu_pinning=true or false")
        return Wish(pinned=True, asked=True, pins=pins)
    if asked is None:
        return Wish(pinned=settings.vcpu_pinning_default)
    return Wish(pinned=asked, asked=True)


def placed(
    job: Job,
    node: Node,
    guests: Sequence[Guest],
    fact: NodeFacts,
    wish: Wish,
    settings: Settings,
    kept: tuple[int, int] = (0, 0),
) -> tuple[Guest, ...]:
    """Return a job's guests on one node with their placements; unchanged where the survey saw no topology.

    :param kept: how many processors of the share the guests leave to components, at least and at most.
    :raises RequestError: more was asked for than the share has, or pinning where nobody can pin.
    :raises InventoryError: processors are to be kept where the share is not known.
    :raises BusyError: another job's guest still holds some of it.
    :raises HypervisorError: a domain that is none of ours does.
    """
    topology = fact.topology
    if topology is None or not topology.cpus:
        if kept[0]:
            raise _cannot_keep(kept[0], "libvirt does not tell the node's processors", node.name)
        if wish.pinned and wish.asked:
            raise _cannot("libvirt does not tell the node's processors", node.name)
        return tuple(guests)
    reserved = kept_for_host(topology, settings.host_os_core_count)
    try:
        share = _share(node, topology, reserved)
    except ValueError as error:
        if kept[0]:
            raise _cannot_keep(kept[0], str(error), node.name) from None
        if wish.pinned and wish.asked:
            raise _cannot(str(error), node.name) from None
        why = str(error) if wish.pinned else ""
        free = set(usable(topology, reserved))
        others = {cpu for held in fact.held if held.job_id != job.id for cpu in held.cpus}
        floating = Placement(tuple(sorted(free - others or free)), why=why)
        return tuple(dataclasses.replace(guest, placement=floating) for guest in guests)
    _check_free(job, node, share, fact)
    share, left_out = _without_kept(node, topology, share, guests, wish, kept)
    if not wish.pinned:
        places: Sequence[Placement] = [Placement(tuple(sorted(share)), exclusive=True)] * len(guests)
    elif wish.pins is not None:
        places = _as_mapped(topology, share, guests, wish.pins, _room(topology, job, fact, settings))
    else:
        _check_share(node, share, guests)
        room = _room(topology, job, fact, settings)
        ram = [guest.shape.ram for guest in guests]
        places = place(topology, share, guests[0].shape.vcpus, ram, room)
    places = [dataclasses.replace(found, kept=left_out) for found in places] if left_out else places
    return tuple(
        dataclasses.replace(guest, placement=found) for guest, found in zip(guests, places, strict=True)
    )


def processors_for_guests(fact: NodeFacts, settings: Settings) -> int:
    """How many processors of a node all guests of all jobs may use."""
    if fact.topology is None or not fact.topology.cpus:
        return fact.cpus - settings.host_os_core_count
    return len(usable(fact.topology, kept_for_host(fact.topology, settings.host_os_core_count)))


def _share(node: Node, topology: Topology, reserved: frozenset[int]) -> tuple[int, ...]:
    """The job's processors on a node.

    :raises ValueError: they are not known, or not the job's alone.
    """
    if not node.indexes or not node.np:
        raise ValueError(UNTOLD)
    return of_slots(topology, reserved, node.indexes, node.np)


def _without_kept(
    node: Node,
    topology: Topology,
    share: tuple[int, ...],
    guests: Sequence[Guest],
    wish: Wish,
    kept: tuple[int, int],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Part the job's share: what its guests may use, and what they leave to components.

    The last ones are left, core by core, as many as the guests can spare: each virtual processor has one
    where they are pinned, else one is enough for all.
    """
    least, most = kept
    needed = guests[0].shape.vcpus * len(guests) if wish.pinned else 1
    number = max(0, min(most, len(share) - needed))
    if number < least:
        raise RequestError(
            f"{needed} processors for guests and {least} kept for input and output are more than the "
            f"{len(share)} the job has here (slots {cpus_text(node.indexes)})",
            hint=f"ask for ppn={needed + least}, or for fewer vcpus",
            node=node.name,
        )
    by_core = [cpu.id for core in topology.cores(set(share)) for cpu in core]
    left_out = set(by_core[len(by_core) - number :])
    return tuple(cpu for cpu in share if cpu not in left_out), tuple(sorted(left_out))


def _cannot_keep(number: int, why: str, node: str) -> InventoryError:
    return InventoryError(
        f"{number} processors cannot be kept for input and output: {why}",
        hint="see 'Pinning' in the administrator's guide; iocm=false does without",
        node=node,
    )


def _cannot(why: str, node: str) -> InventoryError:
    return InventoryError(
        f"the guests cannot be pinned: {why}",
        hint="see 'Pinning' in the administrator's guide; vcpu_pinning=false does without",
        node=node,
    )


def _check_share(node: Node, share: Sequence[int], guests: Sequence[Guest]) -> None:
    """Refuse more virtual processors than the share has: they would share time, and nothing else."""
    vcpus = guests[0].shape.vcpus
    needed = vcpus * len(guests)
    if needed > len(share):
        what = f"{len(guests)} guests with " if len(guests) > 1 else ""
        raise RequestError(
            f"{what}vcpus={vcpus} need {needed} processors, the job has {len(share)} here "
            f"(slots {cpus_text(node.indexes)})",
            hint=f"ask for ppn={needed}, fewer vcpus or vms_per_node, or vcpu_pinning=false",
            node=node.name,
        )


def _check_free(job: Job, node: Node, share: Sequence[int], fact: NodeFacts) -> None:
    """Refuse processors that somebody else's guest holds, whatever TORQUE says of the slots."""
    for held in fact.held:
        common = set(held.cpus) & set(share)
        if not common or held.job_id == job.id:
            continue
        if not held.job_id:
            raise HypervisorError(
                f"the domain {held.domain} is none of a job and is bound to processors {cpus_text(common)}",
                hint="keep them for the host by host_os_core_count, or end it",
                node=node.name,
            )
        raise BusyError(
            f"guests of job {held.job_id} are on processors {cpus_text(common)} still",
            hint="try again when they are gone",
            node=node.name,
        )


def _room(topology: Topology, job: Job, fact: NodeFacts, settings: Settings) -> dict[int, int]:
    """Bytes of each cell that guests may still be bound to; each is careful about the host's memory."""
    room = {cell: size - settings.host_os_ram_mb * UNITS["M"] for cell, size in topology.memory}
    for held in fact.held:
        for cell in held.cells if held.job_id != job.id else ():
            room[cell] = room.get(cell, 0) - held.memory // len(held.cells)
    return room


def _as_mapped(
    topology: Topology, share: Sequence[int], guests: Sequence[Guest], pins: PinMap, room: Mapping[int, int]
) -> list[Placement]:
    """What a user's mapping says; a virtual processor without a line may use the whole share."""
    vcpus, left = guests[0].shape.vcpus, dict(room)
    check_pins(pins, len(guests), vcpus, len(share))
    places = []
    for guest in guests:

        def at(what: str | int, guest: Guest = guest) -> tuple[int, ...] | None:
            found = pins.get((guest.index, what))
            return None if found is None else tuple(sorted(share[place] for place in found))

        bound = tuple(at(vcpu) or tuple(sorted(share)) for vcpu in range(vcpus))
        cpus = {cpu for pin in bound for cpu in pin}
        emulator = at(EMULATOR) or tuple(sorted(cpus))
        cells, memory = memory_of(topology, cpus, guest.shape.ram, left)
        places.append(
            Placement(tuple(sorted(cpus | set(emulator))), bound, emulator, cells, memory, exclusive=True)
        )
    return places
