"""Asking a node what a job's guests have used."""

from __future__ import annotations

import pathlib
from typing import Any

import libvirt
import pytest
from task_kit import World, first_error, libvirt_error, make_plan, result_of
from test_gueststats import RECORDED

from nornir_torque_vm.errors import HypervisorError, InventoryError
from nornir_torque_vm.gueststats import GuestStats
from nornir_torque_vm.tasks import boot_guest, guest_stats


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    made = World(tmp_path, make_plan(1, 2))
    made.connect().createXML(
        "<domain type='test'><name>tvm-17-a1-r9-0badcafe</name><memory>8192</memory>"
        "<os><type>hvm</type></os></domain>",
        0,
    )
    made.run(boot_guest, "guest", probe=lambda _: True)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], int, int]]:
    """Domains and flags of every bulk question; the answers are a recorded one."""
    seen: list[tuple[list[str], int, int]] = []

    def answer(
        _conn: Any, domains: list[Any], stats: int = 0, flags: int = 0
    ) -> list[tuple[Any, dict[str, Any]]]:
        seen.append((sorted(domain.name() for domain in domains), stats, flags))
        return [(domain, RECORDED) for domain in reversed(domains)]

    monkeypatch.setattr(libvirt.virConnect, "domainListGetStats", answer)
    return seen


def test_one_question_gets_the_figures_of_all_guests_of_the_job(
    world: World, asked: list[tuple[list[str], int, int]]
) -> None:
    """By rank; a domain that only has a name like ours is not asked about."""
    found = result_of(world.run(guest_stats, "node", job_id="17.head"), "node1")
    assert [(one.guest, one.node, one.rank, one.attempt) for one in found] == [
        ("j17-r0", "node1", 0, 1),
        ("j17-r1", "node1", 1, 1),
    ]
    assert {round(one.cpu_seconds, 6) for one in found} == {4.26}
    flags = (
        libvirt.VIR_DOMAIN_STATS_CPU_TOTAL | libvirt.VIR_DOMAIN_STATS_BALLOON | libvirt.VIR_DOMAIN_STATS_VCPU
        | libvirt.VIR_DOMAIN_STATS_INTERFACE | libvirt.VIR_DOMAIN_STATS_BLOCK
    )  # fmt: skip
    no_wait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    assert asked == [(sorted(guest.domain for guest in world.plan.guests), flags, no_wait)]


def test_libvirts_test_driver_has_no_figures_and_that_is_no_error(world: World) -> None:
    """Guests without figures are guests."""
    first, second = result_of(world.run(guest_stats, "node", job_id="17"), "node1")
    assert first == GuestStats(
        guest="j17-r0", node="node1", domain=world.plan.guests[0].domain, rank=0, attempt=1
    )
    assert second.rank == 1


@pytest.mark.parametrize(("job_id", "attempt"), [("17.other", None), ("17.head", 2), ("18.head", None)])
def test_other_jobs_and_attempts_are_not_meant(
    world: World, asked: list[Any], job_id: str, attempt: int | None
) -> None:
    """Without a guest there is no question either."""
    assert result_of(world.run(guest_stats, "node", job_id=job_id, attempt=attempt), "node1") == []
    assert asked == []


def test_a_guest_that_ends_meanwhile_is_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the question which there are and the one whose they are."""
    real, ending = libvirt.virDomain.metadata, world.plan.guests[0].domain

    def metadata(self: Any, *words: Any) -> Any:
        if self.name() == ending:
            self.destroy()
        return real(self, *words)

    monkeypatch.setattr(libvirt.virDomain, "metadata", metadata)
    found = result_of(world.run(guest_stats, "node", job_id="17"), "node1")
    assert [one.guest for one in found] == ["j17-r1"]


@pytest.mark.parametrize(
    ("owner", "call"),
    [
        (libvirt.virConnect, "getAllDomainStats"),
        (libvirt.virConnect, "domainListGetStats"),
        (libvirt.virDomain, "metadata"),
    ],
)
def test_what_libvirt_refuses_is_our_error(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: type, call: str
) -> None:
    """With the node's name and libvirt's number."""

    def refuse(*_: Any) -> Any:
        raise libvirt_error(88, "access denied")

    monkeypatch.setattr(owner, call, refuse)
    error = first_error(world.run(guest_stats, "node", job_id="17"), "node1")
    assert isinstance(error, HypervisorError)
    assert (error.code, error.node) == (88, "node1")


def test_what_is_no_job_id_is_refused(world: World) -> None:
    """As everywhere."""
    assert isinstance(first_error(world.run(guest_stats, "node", job_id="../x"), "node1"), InventoryError)
