"""Neighbour tables: three programs' formats, one meaning; one reading for all guests of a node."""

from __future__ import annotations

import ipaddress
import json
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.neighbours import (
    COMMAND,
    PROC_NET_ARP,
    Neighbour,
    NeighbourTable,
    by_mac,
    parse_arp,
    parse_ip_json,
    parse_ip_text,
    parse_proc_net_arp,
)

MAC = "52:54:00:aa:00:01"
GOOD = ("REACHABLE", "STALE", "DELAY", "PROBE", "PERMANENT")
BAD = ("FAILED", "INCOMPLETE", "NONE", "NOARP", "new-in-2040")

macs = (
    st.lists(st.integers(0, 255), min_size=6, max_size=6)
    .filter(any)
    .map(lambda octets: ":".join(f"{octet:02x}" for octet in octets))
)
ipv4 = st.ip_addresses(v=4).map(str)
entries = st.builds(Neighbour, address=ipv4, mac=macs, state=st.sampled_from(GOOD))


@given(st.lists(entries))
def test_what_ip_prints_as_json_is_read_back(expected: list[Neighbour]) -> None:
    """Every usable entry survives, in the order of the table."""
    rows = [{"dst": e.address, "dev": "br0", "lladdr": e.mac.upper(), "state": [e.state]} for e in expected]
    assert parse_ip_json(json.dumps(rows)) == tuple(expected)


@given(st.lists(entries))
def test_what_ip_prints_as_text_is_read_back(expected: list[Neighbour]) -> None:
    """The text form says the same as the JSON form."""
    text = "".join(f"{e.address} dev br0 lladdr {e.mac} router {e.state} \n" for e in expected)
    assert parse_ip_text(text) == tuple(expected)


@given(st.lists(entries))
def test_what_arp_prints_is_read_back_without_state(expected: list[Neighbour]) -> None:
    """``arp`` does not print the kernel's states."""
    text = "".join(f"? ({e.address}) at {e.mac} [ether] PERM on br0\n" for e in expected)
    assert parse_arp(text) == tuple(Neighbour(e.address, e.mac) for e in expected)


@given(st.lists(st.tuples(entries, st.sampled_from([0x0, 0x2, 0x6]))))
def test_only_complete_entries_of_the_kernel_file_count(rows: list[tuple[Neighbour, int]]) -> None:
    """An entry that is being resolved has flag 0x2 unset and no address worth believing."""
    head = "IP address       HW type     Flags       HW address            Mask     Device\n"
    body = "".join(f"{e.address}  0x1  {flags:#x}  {e.mac}  *  br0\n" for e, flags in rows)
    assert parse_proc_net_arp(head + body) == tuple(Neighbour(e.address, e.mac) for e, flags in rows if flags)


@pytest.mark.parametrize("state", BAD)
def test_a_state_that_does_not_say_who_answers_is_no_entry(state: str) -> None:
    """A failed or unknown state must never become a guest's address."""
    row = {"dst": "10.89.0.128", "lladdr": MAC, "state": [state]}
    assert parse_ip_json(json.dumps([row])) == ()
    assert parse_ip_text(f"10.89.0.128 dev br0 lladdr {MAC} {state}") == ()


def test_ipv6_and_entries_without_hardware_address_are_left_out() -> None:
    """The guests' address policy is IPv4; an incomplete entry has no MAC."""
    text = f"fe80::1 dev br0 lladdr {MAC} REACHABLE\n10.89.0.7 dev br0  INCOMPLETE\n"
    assert parse_ip_text(text) == ()
    rows = [
        {"dst": "fe80::1", "lladdr": MAC, "state": ["REACHABLE"]},
        {"dst": "10.89.0.7", "state": ["STALE"]},
    ]
    assert parse_ip_json(json.dumps(rows)) == ()
    assert parse_arp("? (10.89.0.7) at <incomplete> on br0\n") == ()
    assert parse_proc_net_arp("head\n10.89.0.7 0x1 0x2 00:00:00:00:00:00 * br0\n") == ()


@pytest.mark.parametrize("text", ["Usage: ip neigh { add | del }", '{"dst": "10.0.0.1"}', "[{]"])
def test_an_ip_without_json_is_told_apart_from_an_empty_table(text: str) -> None:
    """So that the older formats are tried instead of waiting for ever."""
    with pytest.raises(ValueError):  # noqa: PT011 - json's own error or ours
        parse_ip_json(text)
    assert parse_ip_json("") == parse_ip_json("[]\n") == ()


@given(st.text(), st.sampled_from([parse_ip_text, parse_arp, parse_proc_net_arp]))
def test_noise_never_raises_and_never_makes_an_invalid_address(
    noise: str, parse: Callable[[str], tuple[Neighbour, ...]]
) -> None:
    """Login banners and warnings may stand between the lines."""
    for entry in parse(f"{noise}\n10.89.0.128 dev br0 lladdr {MAC} STALE\n{noise}"):
        ipaddress.IPv4Address(entry.address)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists))
def test_strange_json_never_raises_anything_but_value_error(value: object) -> None:
    """A list of anything is an empty table; anything else is not the format."""
    if isinstance(value, list):
        assert parse_ip_json(json.dumps(value)) == ()
    else:
        with pytest.raises(ValueError, match="list"):
            parse_ip_json(json.dumps(value))


def test_of_two_addresses_the_better_proven_one_is_taken() -> None:
    """An address of an earlier boot lingers as STALE beside the one that answers now."""
    old, new = Neighbour("10.89.0.5", MAC, "STALE"), Neighbour("10.89.0.9", MAC, "REACHABLE")
    assert by_mac([old, new]) == by_mac([new, old]) == {MAC: "10.89.0.9"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_within_its_age_the_table_is_read_once_for_all() -> None:
    """Twenty guests asking in the same tenth of a second cost one reading."""
    clock = Clock()
    table = NeighbourTable(max_age=0.1, clock=clock)
    assert [table.address(MAC, lambda: {MAC: "10.89.0.9"}) for _ in range(20)] == ["10.89.0.9"] * 20
    assert table.readings == 1
    clock.now = 0.2
    assert table.address(MAC.upper(), dict) is None
    assert table.readings == 2


def test_two_that_find_it_due_read_it_once() -> None:
    """The second may get its turn only after the first has finished."""
    looks: list[int] = []

    def clock() -> float:
        looks.append(1)
        if len(looks) == 2:  # between its two looks another thread has read the table
            table._due = 10.0
        return 0.0

    table = NeighbourTable(clock=clock)
    table.address(MAC, dict)
    assert table.readings == 0


def test_nobody_waits_for_a_slow_reading() -> None:
    """While one guest's thread reads, the others get the last answer at once."""
    table = NeighbourTable(max_age=0.0)
    entered, leave = threading.Event(), threading.Event()

    def slow() -> dict[str, str]:
        entered.set()
        assert leave.wait(10)
        return {MAC: "10.89.0.9"}

    reader = threading.Thread(target=table.address, args=(MAC, slow))
    reader.start()
    assert entered.wait(10)
    assert table.address(MAC, slow) is None
    leave.set()
    reader.join()
    assert table.readings == 1


def test_nobody_waits_for_a_reading_aside() -> None:
    """Not even the guest that asked first; one reading is under way, and who asks later gets its answer."""
    table = NeighbourTable(max_age=60.0)
    leave = threading.Event()

    def slow() -> dict[str, str]:
        assert leave.wait(10)
        return {MAC: "10.89.0.9"}

    assert [table.address(MAC, slow, aside=True) for _ in range(3)] == [None] * 3
    leave.set()
    until = time.monotonic() + 10
    while table.address(MAC, slow, aside=True) != "10.89.0.9":
        assert time.monotonic() < until
    assert table.readings == 1


def test_a_failed_reading_aside_is_told_and_the_table_read_again() -> None:
    """What a thread of its own raises is lost on nobody."""
    table = NeighbourTable(retry=0.0)

    def refuse() -> dict[str, str]:
        raise OSError("connection refused")

    def told(read: Callable[[], dict[str, str]]) -> str | None:
        try:
            return table.address(MAC, read, aside=True)
        except LookupError as error:
            return str(error)

    for read, answer in ((refuse, "connection refused"), (lambda: {MAC: "10.89.0.9"}, "10.89.0.9")):
        until = time.monotonic() + 10
        while told(read) != answer:
            assert time.monotonic() < until


HEAD = "IP address       HW type     Flags       HW address            Mask     Device\n"


def entry(mac: str, flags: str = "0x2") -> str:
    """A line of ``/proc/net/arp``."""
    return f"10.89.0.9        0x1         {flags}         {mac}     *        br0\n"


def waiting(table: Path, *macs: str) -> subprocess.Popen[bytes]:
    """The command for another node, run here with another table."""
    argv = (*COMMAND[:2], COMMAND[2].replace(PROC_NET_ARP, str(table)), *COMMAND[3:], *macs)
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def seconds_of(process: subprocess.Popen[bytes]) -> float:
    """How long the command still took; it has nothing to complain about."""
    began = time.monotonic()
    assert process.communicate(timeout=30)[1] == b""
    return time.monotonic() - began


class TestWaitingOnTheNode:
    """A channel and four processes per look would be paid by the guests that boot there."""

    def test_it_ends_when_one_of_those_waited_for_is_there(self, tmp_path: Path) -> None:
        """Whatever else is in the table; an entry nobody has answered for is none."""
        table = tmp_path / "arp"
        table.write_text(HEAD + entry("02:00:00:00:00:09") + entry(MAC, "0x0"))
        process = waiting(table, "02:00:00:00:00:01", MAC)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.4)
        table.write_text(HEAD + entry("02:00:00:00:00:09") + entry(MAC))
        assert seconds_of(process) < 0.5

    def test_it_ends_by_itself(self, tmp_path: Path) -> None:
        """Nothing is left behind on a node whose asker has gone."""
        table = tmp_path / "arp"
        table.write_text(HEAD)
        assert seconds_of(waiting(table, MAC)) >= 0.9

    @pytest.mark.parametrize("macs", [(), (MAC,)])
    def test_without_anybody_or_anything_to_wait_for_it_does_not_wait(
        self, tmp_path: Path, macs: tuple[str, ...]
    ) -> None:
        """No arguments, or a machine that has no such file."""
        assert seconds_of(waiting(tmp_path / "none", *macs)) < 0.8


def test_a_failed_reading_is_told_to_all_and_repeated_after_a_pause() -> None:
    """A node that refuses ssh is asked once a second, not by every guest in every round."""
    clock = Clock()
    table = NeighbourTable(max_age=0.1, retry=1.0, clock=clock)

    def refuse() -> dict[str, str]:
        raise OSError("connection refused")

    for _ in range(3):
        with pytest.raises(LookupError, match="connection refused"):
            table.address(MAC, refuse)
    assert table.readings == 1
    clock.now = 1.0
    assert table.address(MAC, lambda: {MAC: "10.89.0.9"}) == "10.89.0.9"
