"""Make paused domains on this node that are ours by name and metadata, and print their names.

Argument: how many. They have next to no memory and no disk: what is measured is ending them.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import libvirt

from nornir_torque_vm.accounts import caller
from nornir_torque_vm.config import settings as settings_module
from nornir_torque_vm.identity import domain_name, guest_name, guest_uuid, mac_address
from nornir_torque_vm.model import Guest, Job, Shape
from nornir_torque_vm.render.metadata import job_element

JOB = Job("2.bench", "bench", caller())
SHAPE = Shape(1, 16 << 20, domain_type="qemu")


def guest_of(rank: int) -> Guest:
    """The guest with that rank."""
    return Guest(
        name=guest_name(JOB.id, rank), rank=rank, node="", index=rank,
        mac=mac_address(JOB.server, JOB.id, rank),
        uuid=guest_uuid(JOB.server, JOB.id, JOB.attempt, JOB.nonce, rank),
        domain=domain_name(JOB, rank), shape=SHAPE,
    )  # fmt: skip


def xml_of(guest: Guest) -> str:
    """As little as libvirt needs, and who the domain belongs to."""
    return (
        f"<domain type='{guest.shape.domain_type}'><name>{guest.domain}</name><uuid>{guest.uuid}</uuid>"
        f"<metadata>{job_element(JOB, guest)}</metadata><memory unit='b'>{guest.shape.ram}</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os>"
        "<devices><controller type='usb' model='none'/><memballoon model='none'/></devices></domain>"
    )


def start(rank: int) -> str:
    """Start one domain, paused."""
    guest = guest_of(rank)
    conn = libvirt.open(settings_module.load().local_uri)
    try:
        conn.createXML(xml_of(guest), libvirt.VIR_DOMAIN_START_PAUSED)
    finally:
        conn.close()
    return guest.domain


def main() -> None:
    """Start all of them; two at a time, which is what two cores can do."""
    with ThreadPoolExecutor(2) as pool:
        names = list(pool.map(start, range(int(sys.argv[1]))))
    print(json.dumps({"job": JOB.id, "domains": names}))


if __name__ == "__main__":
    main()
