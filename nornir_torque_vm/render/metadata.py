"""What every domain of ours says about itself, and reading it back: the truth about what exists.

A domain's ``<metadata>`` survives restarts of libvirtd and can be listed on any node, so destroying
and reaping need no file.
"""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as ET

from nornir_torque_vm.model import Guest, Job
from nornir_torque_vm.pinning.topology import cpus_text
from nornir_torque_vm.render.encode import xml

METADATA_URI = "urn:nornir-torque-vm:1"
"""Namespace of our element; the number grows when an older reader would misread it."""


HELD = "cpus"
"""Attribute with the processors that are the job's own there; missing where nobody knows."""
RAMDISK = "ramdisk"
"""Attribute with the bytes of memory that the guest's disk may take; missing when it is elsewhere."""
SHARED = "shared"
"""Attribute with the memory that the guest has together with others, ``NAME=BYTES`` for each piece, with
spaces between; missing when there is none."""
ADDRESS = "address"
"""Attribute with the address that the guest was given, ``10.89.0.65/24``; missing where DHCP gives one."""


@dataclasses.dataclass(frozen=True, slots=True)
class GuestRecord:
    """Whose a domain is. ``owner`` is the account's name, ``guest`` the guest's host name."""

    job_id: str
    server: str
    attempt: int
    owner: str
    nonce: str
    rank: int
    guest: str


def job_element(job: Job, guest: Guest) -> str:
    """Return the ``<job>`` element a domain of this guest carries in its metadata.

    :raises RequestError: a value cannot be written into XML.
    """
    values = {
        "server": job.server, "id": job.id, "attempt": str(job.attempt), "owner": job.owner.name,
        "nonce": job.nonce, "rank": str(guest.rank), "guest": guest.name,
    }  # fmt: skip
    if guest.shape.ramdisk:
        values[RAMDISK] = str(guest.shape.ramdisk)
    if guest.placement is not None and guest.placement.exclusive:
        values[HELD] = cpus_text({*guest.placement.cpus, *guest.placement.kept})
    if guest.extras is not None and guest.extras.shared_memory:
        values[SHARED] = " ".join(f"{one.name}={one.size}" for one in guest.extras.shared_memory)
    if guest.static is not None:
        values[ADDRESS] = guest.static.text
    attributes = " ".join(f'{name}="{xml(value)}"' for name, value in values.items())
    return f'<job xmlns="{METADATA_URI}" {attributes}/>'


def parse_metadata(text: str) -> GuestRecord | None:
    """Read the record from a domain's XML, or from the element alone as ``virDomain.metadata`` gives it.

    None when there is none of ours or it is incomplete: what is not known to be ours is left alone.
    """
    try:
        return find_record(ET.fromstring(text))  # noqa: S314 - written by libvirt, not by a guest
    except ET.ParseError:
        return None


def find_record(domain: ET.Element) -> GuestRecord | None:
    """Like :func:`parse_metadata`, for XML that has been parsed already."""
    # virDomain.metadata() takes the namespace away (measured, libvirt 9.0).
    alone = domain.tag in {"job", f"{{{METADATA_URI}}}job"}
    element = domain if alone else domain.find(f"metadata/{{{METADATA_URI}}}job")
    if element is None:
        return None
    try:
        return GuestRecord(
            job_id=element.attrib["id"],
            server=element.attrib["server"],
            attempt=int(element.attrib["attempt"]),
            owner=element.attrib["owner"],
            nonce=element.attrib["nonce"],
            rank=int(element.attrib["rank"]),
            guest=element.attrib["guest"],
        )
    except (KeyError, ValueError):
        return None
