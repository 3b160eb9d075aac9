"""The address under which a guest can greet its node."""

from __future__ import annotations

import fcntl
import functools
import ipaddress
import socket
import struct
from urllib.parse import urlsplit

from nornir.core.inventory import Host

from nornir_torque_vm.addresses.bridge import bridge_here
from nornir_torque_vm.connections.virconnect import is_test
from nornir_torque_vm.deadline import current
from nornir_torque_vm.inventory.hostdata import settings_of
from nornir_torque_vm.model import Plan
from nornir_torque_vm.tasks.common import uri_of

_SIOCGIFADDR = 0x8915
"""<linux/sockios.h>: the IPv4 address of an interface."""
_ADDRESS_AT = 20
"""Where it lies in ``struct ifreq``: behind 16 bytes of name, a family and a port."""


def node_address(host: Host, plan: Plan) -> str:
    """IPv4 address of the node that ``host`` is on; empty when there is none a guest of the plan could use.

    The address the inventory states; else that of the host in the libvirt URI, which is resolved for
    the connection anyway; on this machine that of the guests' bridge: its own name may stand for
    127.0.1.1.
    """
    stated = host.get("node_address")
    if stated:
        return str(stated)
    uri = uri_of(host)
    if is_test(uri):
        return ""  # there are no guests that could greet
    far = urlsplit(uri).hostname
    if far:
        return resolve(far)
    return interface_address(bridge_here(plan, settings_of(host), current.get()))


@functools.lru_cache(maxsize=4096)
def resolve(name: str) -> str:
    """First IPv4 address of a host name that is not this machine's loopback; empty without one."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError:
        return ""
    addresses = (str(entry[4][0]) for entry in found)
    return next((text for text in addresses if not ipaddress.IPv4Address(text).is_loopback), "")


def interface_address(name: str) -> str:
    """IPv4 address of a network interface of this machine; empty when it has none or does not exist."""
    request = struct.pack("256s", name.encode()[:15])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            answer = fcntl.ioctl(sock, _SIOCGIFADDR, request)
    except OSError:
        return ""
    return socket.inet_ntoa(answer[_ADDRESS_AT : _ADDRESS_AT + 4])
