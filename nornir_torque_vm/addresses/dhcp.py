"""The DHCP messages that give a lease back, and reading the offer that names the server. Pure.

RFC 2131 and 2132. Neither message has a client identifier, whatever the guest's own had: dnsmasq, ISC dhcpd
and Kea then go by the hardware address (dnsmasq measured; the others as their sources have it).
"""

from __future__ import annotations

import dataclasses
import ipaddress
import struct

from nornir_torque_vm.addresses import wire

_COOKIE = bytes([99, 130, 83, 99])
_FIXED = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
"""Operation … flags, four addresses, hardware address, server name, file, cookie."""
_REQUEST, _REPLY = 1, 2
_BROADCAST_FLAG = 0x8000
_TYPE, _SERVER, _END, _PAD = 53, 54, 255, 0
_DISCOVER, _OFFER, _RELEASE = 1, 2, 7
_CLIENT_PORT, _SERVER_PORT = 68, 67
_UDP = 17
_NOWHERE = "0.0.0.0"  # noqa: S104 - the address of who has none
_EVERYWHERE = "255.255.255.255"
_LEAST = 300
"""Bytes of a message: some relays drop shorter ones (RFC 1542, 2.1)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """What a server offers a client: for one that has a lease, that address."""

    number: int
    address: str
    server: str
    way: bytes
    """The hardware address it came from: the server's, or that of the relay on the way to it."""


def discover(sender: bytes, client: str, number: int) -> bytes:
    """The frame that asks for offers to the client with a MAC address; answers come to everybody.

    :param sender: the frame's own hardware address, so that no switch takes the guest to be here.
    :param number: told again in the answers.
    """
    message = _message(client, number, _NOWHERE, _BROADCAST_FLAG, [(_TYPE, bytes([_DISCOVER]))])
    return _frame(wire.BROADCAST, sender, _NOWHERE, _EVERYWHERE, message)


def release(sender: bytes, client: str, address: str, offer: Offer, number: int) -> bytes:
    """The frame that gives the client's address back to the server of an offer."""
    server = ipaddress.IPv4Address(offer.server).packed
    options = [(_TYPE, bytes([_RELEASE])), (_SERVER, server)]
    message = _message(client, number, address, 0, options)
    return _frame(offer.way, sender, address, offer.server, message)


def parse_offer(frame: bytes) -> Offer | None:
    """Read an offer; None when the frame is none, or is cut off."""
    try:
        if frame[12:14] != wire.IP.to_bytes(2, "big") or frame[14] >> 4 != 4 or frame[23] != _UDP:
            return None
        at = 14 + (frame[14] & 15) * 4
        if struct.unpack_from("!HH", frame, at) != (_SERVER_PORT, _CLIENT_PORT):
            return None
        fields = _FIXED.unpack_from(frame, at + 8)
        options = _options(frame[at + 8 + _FIXED.size :])
    except (struct.error, IndexError):
        return None
    server = options.get(_SERVER, b"")
    if (
        fields[0] != _REPLY
        or fields[-1] != _COOKIE
        or options.get(_TYPE) != bytes([_OFFER])
        or len(server) != 4
    ):
        return None
    return Offer(
        fields[4], str(ipaddress.IPv4Address(fields[8])), str(ipaddress.IPv4Address(server)), frame[6:12]
    )


def _options(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        length = data[at + 1]
        found.setdefault(data[at], data[at + 2 : at + 2 + length])
        at += 2 + length
    return found


def _message(client: str, number: int, address: str, flags: int, options: list[tuple[int, bytes]]) -> bytes:
    none = bytes(4)
    fixed = _FIXED.pack(
        _REQUEST, 1, 6, 0, number, 0, flags, ipaddress.IPv4Address(address).packed, none, none, none,
        wire.mac_bytes(client), b"", b"", _COOKIE,
    )  # fmt: skip
    written = b"".join(bytes([code, len(value)]) + value for code, value in options)
    return (fixed + written + bytes([_END])).ljust(_LEAST, b"\0")


def _frame(to: bytes, sender: bytes, source: str, target: str, message: bytes) -> bytes:
    """A frame with a UDP datagram from the client's port to the server's (RFC 768, 791)."""
    ends = ipaddress.IPv4Address(source).packed + ipaddress.IPv4Address(target).packed
    length = 8 + len(message)
    udp = struct.pack("!HHH", _CLIENT_PORT, _SERVER_PORT, length)
    check = _checksum(ends + struct.pack("!BBH", 0, _UDP, length) + udp + bytes(2) + message)
    head = struct.pack("!BBHHHBB", 0x45, 0, 20 + length, 0, 0, 64, _UDP)
    packet = head + _checksum(head + bytes(2) + ends) + ends + udp + check + message
    return wire.header(to, sender, wire.IP) + packet


def _checksum(data: bytes) -> bytes:
    """RFC 1071; a sum of nought is sent as its other form, which UDP needs and IP allows."""
    padded = data + bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ((~total & 0xFFFF) or 0xFFFF).to_bytes(2, "big")
