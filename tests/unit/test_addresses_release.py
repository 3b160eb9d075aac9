"""Whose leases are given back, and who keeps one: on a wire that a test holds the other end of."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from typing import Self

import pytest

from nornir_torque_vm.addresses import arp, dhcp, wire
from nornir_torque_vm.addresses.release import release_leases
from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.deadline import Deadline

OURS, SERVER = bytes.fromhex("0289000000ff"), bytes.fromhex("028900000001")
GONE, THERE, NEW = (f"02:00:00:00:00:0{number}" for number in range(1, 4))
LEASED = {GONE: "10.89.0.101", THERE: "10.89.0.102"}


class Server:
    """A DHCP server at the other end: offers everybody his address, or a new one."""

    def __init__(self, *, silent: bool = False) -> None:
        self.mac, self.silent = OURS, silent
        self.asked: list[str] = []
        self.released: dict[str, str] = {}
        self._offers: list[bytes] = []

    def __call__(self, interface: str, kind: int) -> Self:
        """In place of :class:`~nornir_torque_vm.addresses.wire.Wire`."""
        assert (interface, kind) == ("br7", wire.IP)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def send(self, frame: bytes) -> None:
        """A message of DHCP's: what is behind its cookie begins with its type."""
        mac, kind = frame[70:76].hex(":"), frame[284]
        if kind == dhcp._RELEASE:
            assert frame[:6] == SERVER
            self.released[mac] = str(ipaddress.IPv4Address(frame[54:58]))
            return
        self.asked.append(mac)
        offer = bytearray(frame)
        offer[6:12], offer[34:38], offer[42] = SERVER, bytes([0, 67, 0, 68]), dhcp._REPLY
        offer[58:62] = ipaddress.IPv4Address(LEASED.get(mac, "10.89.0.199")).packed
        offer[282:] = bytes([53, 1, dhcp._OFFER, 54, 4, 10, 89, 0, 1, 255])
        self._offers += [] if self.silent else [bytes(offer)]

    def frames(self, _seconds: float) -> Iterator[bytes]:
        """What it has answered."""
        while self._offers:
            yield self._offers.pop(0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(wire, "Wire", made)
    return made


def give(leases: dict[str, str], unsure: Collection[str] = ()) -> str:
    """Give back on the bridge that the server is at."""
    return release_leases(leases, "br7", Settings(), Deadline.after(5), unsure)


def test_addresses_that_are_known_need_one_question_for_all(server: Server) -> None:
    """It finds the server."""
    assert give(dict(LEASED)) == ""
    assert (server.asked, server.released) == ([GONE], LEASED)


def test_the_server_is_asked_for_addresses_that_are_not_known(server: Server) -> None:
    """To who has a lease it offers that."""
    assert give({GONE: "10.89.0.101", THERE: ""}) == ""
    assert (sorted(server.asked), server.released) == ([GONE, THERE], LEASED)


@pytest.mark.parametrize("known", [True, False])
def test_who_may_still_run_keeps_the_lease_if_it_answers(
    server: Server, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own MAC address: a stranger at its address is no reason."""
    heard = {LEASED[THERE]: {THERE}, LEASED[GONE]: {NEW}}
    asked: list[object] = []

    def who_has(*words: object) -> dict[str, set[str]]:
        asked.append(words[:2])
        return heard

    monkeypatch.setattr(arp, "who_has", who_has)
    leases = LEASED if known else dict.fromkeys(LEASED, "")
    assert give({**leases, NEW: "10.89.0.103"}, {GONE, THERE}) == ""
    assert server.released == {GONE: LEASED[GONE], NEW: "10.89.0.103"}
    assert asked == [("br7", set(LEASED.values()))]


def test_nobody_is_asked_who_is_there_when_all_are_gone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The look takes half a second."""
    monkeypatch.delattr(arp, "who_has")
    assert give(dict(LEASED)) == ""
    assert server.released == LEASED


def test_a_network_without_a_server_is_told(server: Server) -> None:
    """The leases end by their time."""
    server.silent = True
    assert give(dict(LEASED)) == "leases not given back: no DHCP server answers"
    assert server.released == {}
