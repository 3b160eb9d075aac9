"""Who is at an address of the guests' network: asked by ARP probes (RFC 5227), which leave no traces.

Not the neighbour table's word: it keeps for a minute what a guest that is gone has said. A probe reaches
the Ethernet that this node's bridge is on; of guests on other ones nothing is heard.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Collection, Sequence

from nornir_torque_vm.addresses import wire
from nornir_torque_vm.deadline import Deadline

PATIENT = (0.1, 0.15, 0.25)
"""Seconds that are listened after each sending, where nobody is expected."""
QUICK = (0.1, 0.1)
"""The same where guests are, whose job waits: whoever is there beside them answers as fast as they do."""
_FORM = struct.Struct("!HHBBH6s4s6s4s")
"""RFC 826: hardware and protocol, lengths of their addresses, operation, sender's and target's addresses."""
_ETHERNET, _REQUEST, _REPLY = 1, 1, 2


def probe(mac: bytes, address: str) -> bytes:
    """The frame that asks who has ``address``; its sender has none, so that nobody learns from it."""
    target = ipaddress.IPv4Address(address).packed
    body = _FORM.pack(_ETHERNET, wire.IP, 6, 4, _REQUEST, mac, bytes(4), bytes(6), target)
    return wire.header(wire.BROADCAST, mac, wire.ARP) + body


def speaker(frame: bytes) -> tuple[str, str] | None:
    """Address and MAC address of who says in a frame that it is there; None when nobody does."""
    if len(frame) < 14 + _FORM.size:
        return None
    hardware, protocol, length, size, operation, mac, address, *_ = _FORM.unpack_from(frame, 14)
    ours = (hardware, protocol, length, size) == (_ETHERNET, wire.IP, 6, 4)
    if not ours or operation not in {_REQUEST, _REPLY} or not any(address):
        return None
    return str(ipaddress.IPv4Address(address)), mac.hex(":")


def who_has(
    interface: str, addresses: Collection[str], deadline: Deadline, pauses: Sequence[float] = PATIENT
) -> dict[str, set[str]]:
    """Return the MAC addresses of the machines at these addresses; an address without any is left out.

    Takes all of ``pauses``, and no longer than the deadline lets it.

    :raises OSError: the interface cannot be used: it does not exist, it is down, we are not root.
    """
    heard: dict[str, set[str]] = {}
    with wire.Wire(interface, wire.ARP) as line:
        for seconds in pauses if addresses else ():
            for address in addresses:
                line.send(probe(line.mac, address))
            for frame in line.frames(deadline.clamp(seconds)):
                found = speaker(frame)
                if found is not None and found[0] in addresses:
                    heard.setdefault(found[0], set()).add(found[1])
    return heard
