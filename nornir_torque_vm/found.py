"""What libvirt says about a domain, read from its XML and its state numbers. Pure.

The numbers are libvirt's ABI (``virDomainState`` and the ``vir*Reason`` enumerations); they stand
here so that judging a state needs no libvirt.
"""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

from nornir_torque_vm.addresses.model import StaticAddress
from nornir_torque_vm.capabilities import size_of
from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.model import Holding, Memory
from nornir_torque_vm.pinning.topology import cpus_of
from nornir_torque_vm.render.metadata import (
    ADDRESS,
    HELD,
    METADATA_URI,
    RAMDISK,
    SHARED,
    GuestRecord,
    find_record,
)

DOMAIN_PREFIX = "tvm-"
"""What every domain of ours is called first; a quick first look, the metadata decide."""

STATES = ("nostate", "running", "blocked", "paused", "shutdown", "shutoff", "crashed", "suspended")
"""``virDomainState`` 0 … 7, in ``virsh``'s terms."""

_PAUSED, _SHUTDOWN, _SHUTOFF, _CRASHED = 3, 4, 5, 6

_BAD_PAUSES = {
    5: "paused by an I/O error: is the disk of its node full?",
    6: "paused by its watchdog",
    10: "paused because it crashed",
}
_SHUTOFFS = {
    1: "shut itself down",
    2: "was destroyed",
    3: "crashed",
    6: "failed: its emulator ended",
    8: "was stopped by libvirtd",
}


@dataclasses.dataclass(frozen=True, slots=True)
class FoundGuest(GuestRecord):
    """A guest of ours that exists on a node: whose it is, and what it is. ``memory`` in bytes."""

    node: str
    domain: str
    uuid: str
    mac: str
    state: str
    vcpus: int
    memory: int
    arch: str = ""
    domain_type: str = ""
    ramdisk: int = 0
    """Bytes of the node's memory that its disk may take beside that."""
    shared: tuple[tuple[str, int], ...] = ()
    """Name and bytes of memory that it has together with the other guests of its job there."""
    static: StaticAddress | None = None
    """The address it was given; None when it asked a DHCP server."""
    bridge: str = ""
    """The bridge that its card is on; empty when libvirt does not tell."""


def read_domain(text: str, *, node: str, state: int = 0) -> FoundGuest | None:
    """Read a domain's XML; None when its metadata are not ours.

    :param state: libvirt's number.
    :raises HypervisorError: the text is no domain XML.
    """
    root = _parsed(text, node)
    record = find_record(root)
    if record is None:
        return None
    mac = root.find("devices/interface/mac")
    source = root.find("devices/interface/source")
    machine = root.find("os/type")
    return FoundGuest(
        **{field.name: getattr(record, field.name) for field in dataclasses.fields(record)},
        node=node,
        domain=root.findtext("name", ""),
        uuid=root.findtext("uuid", ""),
        mac="" if mac is None else mac.get("address", "").lower(),
        state=state_name(state),
        vcpus=int(root.findtext("vcpu") or 1),
        memory=size_of(root.find("memory")),
        arch="" if machine is None else machine.get("arch", ""),
        domain_type=root.get("type", ""),
        ramdisk=_ramdisk(root),
        shared=shared_memory(root),
        static=_static(root),
        bridge="" if source is None else source.get("bridge", ""),
    )


def shared_memory(domain: ET.Element) -> tuple[tuple[str, int], ...]:
    """Name and bytes of what a domain says that it shares with the other guests of its job there."""
    pieces = (word.rpartition("=") for word in _stated(domain, SHARED).split())
    return tuple((name, int(size)) for name, equals, size in pieces if equals and size.isdecimal())


def _stated(domain: ET.Element, attribute: str) -> str:
    """What a domain's metadata say; empty when they do not."""
    element = domain.find(f"metadata/{{{METADATA_URI}}}job")
    return "" if element is None else element.get(attribute, "")


def _static(domain: ET.Element) -> StaticAddress | None:
    address, slash, prefix = _stated(domain, ADDRESS).partition("/")
    return StaticAddress(address, int(prefix)) if slash and prefix.isdecimal() else None


def _ramdisk(domain: ET.Element) -> int:
    text = _stated(domain, RAMDISK)
    return int(text) if text.isdecimal() else 0


def read_holding(text: str, *, node: str) -> Holding | None:
    """Read what a domain holds of its node, ours or another's; None when it holds nothing for itself.

    A guest of ours says in its metadata which processors are its job's own; any other domain holds those
    it is bound to, one virtual processor or all of them.

    :raises HypervisorError: the text is no domain XML.
    """
    root = _parsed(text, node)
    record = find_record(root)
    if record is not None:
        lists = [_stated(root, HELD)]
    else:
        lists = [pin.get("cpuset", "") for pin in root.findall("cputune/vcpupin")]
        lists = lists or [vcpu.get("cpuset", "") for vcpu in root.findall("vcpu")]
    cpus = {cpu for text in lists for cpu in cpus_of(text)}
    memory = root.find("numatune/memory")
    strict = memory is not None and memory.get("mode", Memory.STRICT) == Memory.STRICT
    cells = cpus_of(memory.get("nodeset", "")) if memory is not None and strict else ()
    if not cpus and not cells:
        return None
    return Holding(
        domain=root.findtext("name", ""),
        job_id="" if record is None else record.job_id,
        cpus=tuple(sorted(cpus)),
        cells=cells,
        memory=size_of(root.find("memory")),
    )


def _parsed(text: str, node: str) -> ET.Element:
    try:
        return ET.fromstring(text)  # noqa: S314 - from the node's own libvirtd
    except ET.ParseError as exc:
        raise HypervisorError(f"a domain's description is not XML: {exc}", node=node) from exc


def state_name(state: int) -> str:
    """One of libvirt's state numbers in ``virsh``'s words."""
    return STATES[state] if 0 <= state < len(STATES) else f"state {state}"


def why_dead(state: int, reason: int) -> str:
    """Say why a guest in this state will never become ready; empty when it still may.

    A guest that an administrator suspended, or that is being migrated or saved, may go on.
    """
    if state == _CRASHED:
        return "crashed"
    if state == _SHUTOFF:
        return _SHUTOFFS.get(reason, "is shut off")
    if state == _SHUTDOWN:
        return "is shutting down"
    return _BAD_PAUSES.get(reason, "") if state == _PAUSED else ""
