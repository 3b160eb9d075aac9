"""What tests of the libvirt connection share: hypervisors in files, and two tasks."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

from nornir.core.task import Result, Task

from nornir_torque_vm import deadline
from nornir_torque_vm.connections.libvirt import LibvirtConnection
from nornir_torque_vm.deadline import Deadline

NODE_XML = "<node><cpu><mhz>2000</mhz><nodes>1</nodes></cpu><memory>8192000</memory></node>"
DOMAIN_XML = "<domain type='test'><name>{name}</name><memory>8192</memory><os><type>hvm</type></os></domain>"


def write_node(directory: pathlib.Path, name: str) -> str:
    """Write an empty hypervisor into a file and return its URI."""
    (directory / f"{name}.xml").write_text(NODE_XML)
    return f"test://{directory}/{name}.xml"


def connect(uri: str, **extras: Any) -> LibvirtConnection:
    """Open the connection of a host called n1."""
    connection = LibvirtConnection()
    connection.open("n1", None, None, None, None, {"uri": uri, **extras})
    return connection


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    """A deadline for this thread."""
    token = deadline.current.set(Deadline.after(seconds))
    try:
        yield
    finally:
        deadline.current.reset(token)


def domains(task: Task) -> Result:
    """The names of the domains that run."""
    conn = task.host.get_connection("libvirt", task.nornir.config)
    return Result(host=task.host, result=sorted(domain.name() for domain in conn.listAllDomains()))


def create(task: Task) -> Result:
    """Start a domain named after the host."""
    conn = task.host.get_connection("libvirt", task.nornir.config)
    conn.createXML(DOMAIN_XML.format(name=f"on-{task.host.name}"), 0)
    return Result(host=task.host, changed=True)
