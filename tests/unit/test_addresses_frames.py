"""ARP probes, DHCP messages: their bytes, and that nothing a network sends can confuse their readers."""

from __future__ import annotations

import dataclasses
import struct

from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.addresses import arp, dhcp

OURS = bytes.fromhex("0289000000ff")
SERVER = bytes.fromhex("028900000001")
GUEST = "02:00:00:00:00:07"
OFFER = dhcp.Offer(7, "10.89.0.120", "10.89.0.1", SERVER)


def test_a_probe_is_as_rfc_5227_has_it() -> None:
    """To everybody, from nobody: sender's address 0.0.0.0, so that no table learns from it."""
    assert arp.probe(OURS, "10.89.0.65").hex() == (
        "ffffffffffff" "0289000000ff" "0806" "0001" "0800" "06" "04" "0001"
        "0289000000ff" "00000000" "000000000000" "0a590041"
    )  # fmt: skip


def answer(operation: int = 2, address: str = "0a590041", protocol: str = "0800") -> bytes:
    """What a machine says of itself."""
    return bytes.fromhex(
        f"0289000000ff 525400000007 0806 0001 {protocol} 06 04 {operation:04x} 525400000007 {address}"
        "0289000000ff 00000000"
    )


def test_who_speaks_is_found_in_answers_and_announcements() -> None:
    """Padding behind them does not matter; probes of others name nobody."""
    assert arp.speaker(answer()) == ("10.89.0.65", "52:54:00:00:00:07")
    assert arp.speaker(answer(operation=1) + bytes(18)) == ("10.89.0.65", "52:54:00:00:00:07")
    assert arp.speaker(answer(operation=3)) is None
    assert arp.speaker(answer(address="00000000")) is None
    assert arp.speaker(answer(protocol="86dd")) is None
    assert arp.speaker(answer()[:41]) is None


def checksum(data: bytes) -> int:
    """RFC 1071, over an even number of bytes that hold their own sum: 0 when that is right."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_a_release_is_what_the_guests_own_client_would_send() -> None:
    """From its address and in its name, to the server alone, through whom the offer came."""
    frame = dhcp.release(OURS, GUEST, "10.89.0.120", OFFER, 0x01020304)
    assert frame[:14] == SERVER + OURS + b"\x08\x00"
    assert frame[26:34].hex() == "0a5900780a590001"
    assert struct.unpack_from("!HH", frame, 34) == (68, 67)
    assert checksum(frame[14:34]) == 0
    pseudo = frame[26:34] + struct.pack("!BBH", 0, 17, len(frame) - 34)
    assert checksum(pseudo + frame[34:]) == 0
    message = frame[42:]
    assert message[:8].hex() == "0101060001020304"
    assert message[12:16].hex() == "0a590078"
    assert message[28:34].hex() == "020000000007"
    assert message[236:].rstrip(b"\0").hex() == "6382536335010736040a590001ff"


def offered(
    operation: int = 2, kind: int = 2, ports: tuple[int, int] = (67, 68), cookie: bytes = b"c\x82Sc"
) -> bytes:
    """A server's offer, made of our own question: the same form the other way."""
    frame = bytearray(dhcp.discover(SERVER, GUEST, 7))
    frame[34:38] = struct.pack("!HH", *ports)
    frame[42] = operation
    frame[58:62] = bytes([10, 89, 0, 120])
    frame[278:282] = cookie
    frame[282:] = bytes([0, 53, 1, kind, 1, 4, 255, 255, 255, 0, 54, 4, 10, 89, 0, 1, 255])
    return bytes(frame)


def test_an_offer_is_read_with_the_way_it_came() -> None:
    """Number, address, server; options in any order, fillers between."""
    assert dhcp.parse_offer(offered()) == OFFER
    assert dhcp.parse_offer(offered() + bytes(40)) == OFFER
    others = [offered(operation=1), offered(kind=5), offered(ports=(68, 67)), offered(cookie=b"none")]
    assert [dhcp.parse_offer(frame) for frame in others] == [None] * 4
    assert dhcp.parse_offer(dhcp.discover(OURS, GUEST, 7)) is None


@given(st.binary(max_size=400), st.integers(0, 320))
def test_nothing_a_network_sends_stops_the_readers(noise: bytes, cut: int) -> None:
    """Guests of other people are on it: frames that are cut off, and bytes of any kind."""
    for frame in (noise, offered()[:cut], offered()[:cut] + noise, answer()[:cut] + noise):
        found = dhcp.parse_offer(frame)
        assert found is None or dataclasses.is_dataclass(found)
        arp.speaker(frame)
