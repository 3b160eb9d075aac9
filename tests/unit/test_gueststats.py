"""What libvirt tells of guests, as numbers of ours, and how they are kept."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import StateError
from nornir_torque_vm.gueststats import Figures, GuestStats, Usage, parse_stats

RECORDED: dict[str, Any] = {
    "state.state": 1,
    "state.reason": 1,
    "cpu.time": 4260000000,
    "cpu.user": 3860000000,
    "cpu.system": 400000000,
    "balloon.current": 196608,
    "balloon.maximum": 196608,
    "balloon.rss": 259296,
    "vcpu.current": 1,
    "vcpu.maximum": 1,
    "vcpu.0.state": 1,
    "vcpu.0.time": 3540000000,
    "vcpu.0.wait": 0,
    "net.count": 1,
    "net.0.name": "vnet0",
    "net.0.rx.bytes": 12964,
    "net.0.rx.pkts": 46,
    "net.0.tx.bytes": 7220,
    "net.0.tx.pkts": 52,
    "block.count": 2,
    "block.0.name": "vda",
    "block.0.rd.reqs": 602,
    "block.0.rd.bytes": 18815488,
    "block.0.wr.reqs": 0,
    "block.0.wr.bytes": 4096,
    "block.0.capacity": 22020096,
    "block.1.name": "vdb",
    "block.1.rd.bytes": 20480,
    "block.1.wr.bytes": 0,
}
"""Of a micro guest under QEMU's emulation, libvirt 9.0."""


def test_figures_of_a_guest_are_seconds_and_bytes() -> None:
    """Nanoseconds and KiB are libvirt's own business; all disks and networks count together."""
    used = parse_stats(RECORDED)
    assert used.cpu_seconds == pytest.approx(4.26)
    assert dataclasses.replace(used, cpu_seconds=None) == Usage(
        memory=259296 << 10,
        memory_limit=196608 << 10,
        disk_read=18815488 + 20480,
        disk_written=4096,
        net_received=12964,
        net_sent=7220,
    )


def test_without_a_cgroup_the_time_of_the_vcpus_counts() -> None:
    """What libvirt calls ``cpu.time`` it reads from a cgroup that not every node has."""
    numbers = {key: value for key, value in RECORDED.items() if not key.startswith("cpu.")}
    numbers["vcpu.11.time"] = 1_000_000_000
    assert parse_stats(numbers).cpu_seconds == pytest.approx(4.54)


def test_what_a_hypervisor_does_not_tell_is_not_zero() -> None:
    """The test driver tells the state alone; a busy emulator leaves out what only it knows."""
    assert parse_stats({"state.state": 1, "state.reason": 1}) == Usage()
    assert parse_stats({"balloon.maximum": 4}) == Usage(memory_limit=4096)


def test_a_guest_that_did_nothing_has_used_nothing() -> None:
    """Zero is a figure."""
    used = parse_stats({"cpu.time": 0, "net.0.rx.bytes": 0})
    assert (used.cpu_seconds, used.net_received, used.net_sent) == (0.0, 0, None)


NAMES = st.one_of(st.sampled_from(sorted(RECORDED)), st.text(max_size=12))
VALUES = st.one_of(st.integers(-(2**63), 2**64), st.text(max_size=5), st.booleans(), st.floats(), st.none())


@given(st.dictionaries(NAMES, VALUES))
def test_any_answer_is_understood_or_left_out(numbers: dict[str, Any]) -> None:
    """No figure is negative, and none is made of what is no count."""
    for value in dataclasses.asdict(parse_stats(numbers)).values():
        assert value is None or value >= 0


def guest(rank: int, node: str = "node1", attempt: int = 1, **usage: Any) -> GuestStats:
    return GuestStats(
        **usage, guest=f"j17-r{rank}", node=node, domain=f"tvm-17-a{attempt}-r{rank}-0badcafe", rank=rank,
        attempt=attempt,
    )  # fmt: skip


def test_figures_survive_being_kept() -> None:
    """By attempt and rank, whatever order the nodes answered in."""
    figures = Figures(
        (guest(10), guest(2, cpu_seconds=1.5, memory=7), guest(11, attempt=0)), {"node2": "is down"}
    )
    back = Figures.from_json(figures.to_json())
    assert [one.rank for one in back.guests] == [11, 2, 10]
    assert set(back.guests) == set(figures.guests)
    assert back.missing == {"node2": "is down"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"version":1}',
        '{"version":1,"guests":[{"x":1}],"missing":{}}',
        '{"version":1,"guests":[1],"missing":{}}',
        '{"version":1,"guests":[],"missing":[]}',
    ],
)
def test_damaged_figures_are_a_sentence(text: str) -> None:
    """Half a file, or somebody else's."""
    with pytest.raises(StateError, match=r"^the guests' figures cannot be read \([A-Za-z]+\)$"):
        Figures.from_json(text)


def test_a_later_version_is_named() -> None:
    """Its numbers may mean something else."""
    text = json.dumps({"version": 2, "guests": [], "missing": {}})
    with pytest.raises(StateError, match="have form 2, this program reads 1"):
        Figures.from_json(text)


def test_a_second_teardown_adds_to_the_first() -> None:
    """The first could not reach node2; of a guest that was there both times the later figures count."""
    first = Figures(
        (guest(0, cpu_seconds=1.0), guest(1, cpu_seconds=1.0)), {"node2": "is down", "node3": "is down"}
    )
    second = Figures((guest(1, cpu_seconds=2.0), guest(2, "node2", cpu_seconds=3.0)), {"node1": "is down"})
    both = second.after(first)
    assert [(one.rank, one.cpu_seconds) for one in both.guests] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert both.missing == {"node3": "is down"}
    assert Figures().after(first) == first
