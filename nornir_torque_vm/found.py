"""What libvirt says about a domain, read from its XML and its state numbers. Pure.

The numbers are libvirt's ABI (``virDomainState`` and the ``vir*Reason`` enumerations); they stand
here so that judging a state needs no libvirt.
"""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

from nornir_torque_vm.capabilities import size_of
from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.render.metadata import GuestRecord, find_record

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


def read_domain(text: str, *, node: str, state: int = 0) -> FoundGuest | None:
    """Read a domain's XML; None when its metadata are not ours.

    :param state: libvirt's number.
    :raises HypervisorError: the text is no domain XML.
    """
    try:
        root = ET.fromstring(text)  # noqa: S314 - from the node's own libvirtd
    except ET.ParseError as exc:
        raise HypervisorError(f"a domain's description is not XML: {exc}", node=node) from exc
    record = find_record(root)
    if record is None:
        return None
    mac = root.find("devices/interface/mac")
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
    )


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
