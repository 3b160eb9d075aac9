"""What belongs to a job on a node: domains by name and metadata, volumes by name; nothing else."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.found import FoundGuest
from nornir_torque_vm.identity import domain_name
from nornir_torque_vm.model import Guest, Job, Owner, Shape
from nornir_torque_vm.tasks.selection import Selection, of_guest, of_job, of_job_id, of_names, volumes_of
from nornir_torque_vm.tasks.volumes import console_name, overlay_name, seed_name

OWNER = Owner("alice", 2001, 2001, "alice", "/home/alice")
JOB = Job("17.head", "head", OWNER, attempt=1, nonce="0badcafe")

jobs = st.builds(
    Job,
    id=st.builds(
        lambda number, index, server: f"{number}{index}.{server}",
        st.integers(1, 200), st.sampled_from(["", "[1]", "[11]"]), st.sampled_from(["head", "other"]),
    ),
    server=st.sampled_from(["head", "other"]),
    owner=st.just(OWNER),
    attempt=st.integers(1, 12),
    nonce=st.sampled_from(["00000000", "0badcafe"]),
)  # fmt: skip


def existing(job: Job, rank: int = 0) -> FoundGuest:
    return FoundGuest(job.id, job.server, job.attempt, "alice", job.nonce, rank, f"r{rank}", "node1",
                      domain_name(job, rank), "", "", "running", 1, 1)  # fmt: skip


def volumes(job: Job, rank: int = 0) -> list[str]:
    return [name(domain_name(job, rank)) for name in (overlay_name, seed_name, console_name)]


def selects(chosen: Selection, guest: FoundGuest) -> bool:
    return guest.domain.startswith(chosen.prefix) and chosen.wants(guest)


@given(jobs, jobs, st.integers(0, 12))
def test_a_plans_job_selects_its_own_attempt_and_no_other(mine: Job, other: Job, rank: int) -> None:
    """Server, id, attempt and nonce all count, for domains and for volumes alike."""
    chosen = of_job(mine)
    assert selects(chosen, existing(mine, rank))
    assert volumes_of(chosen, volumes(mine, rank), ()) == volumes(mine, rank)
    if mine != other:
        assert not selects(chosen, existing(other, rank))
        assert volumes_of(chosen, volumes(other, rank), ()) == []


@given(jobs, st.integers(0, 12))
def test_a_job_id_selects_all_attempts_of_that_job(job: Job, rank: int) -> None:
    """The epilogue does not care how often the job was started."""
    again = dataclasses.replace(job, attempt=job.attempt + 1, nonce="feedbeef")
    chosen = of_job_id(job.id)
    for attempt in (job, again):
        assert selects(chosen, existing(attempt, rank))
        assert volumes_of(chosen, volumes(attempt, rank), ()) == volumes(attempt, rank)


@given(jobs, jobs)
def test_a_job_id_with_its_server_selects_no_other_job(mine: Job, other: Job) -> None:
    """17.head is neither 17.other nor 17[1].head nor 117.head."""
    if mine.id != other.id:
        assert not selects(of_job_id(mine.id), existing(other))


def test_one_attempt_can_be_named() -> None:
    """Attempt 1 is not the start of attempt 12."""
    chosen = of_job_id("17.head", attempt=1)
    twelfth = dataclasses.replace(JOB, attempt=12)
    assert selects(chosen, existing(JOB))
    assert not selects(chosen, existing(twelfth))
    assert volumes_of(chosen, volumes(JOB) + volumes(twelfth), ()) == volumes(JOB)


def test_guests_can_be_named_one_by_one() -> None:
    """Not the same attempt with another nonce: its domains have other names."""
    other = dataclasses.replace(JOB, nonce="feedbeef")
    chosen = of_names(JOB.id, [domain_name(JOB, 0), domain_name(JOB, 2)])
    everything = [*volumes(JOB, 0), *volumes(JOB, 1), *volumes(JOB, 2), *volumes(other, 0)]
    assert volumes_of(chosen, everything, ()) == [*volumes(JOB, 0), *volumes(JOB, 2)]
    assert volumes_of(of_names(JOB.id, []), everything, ()) == []


def test_a_number_alone_means_any_server() -> None:
    """What an administrator types."""
    chosen = of_job_id("17")
    assert selects(chosen, existing(JOB))
    assert selects(chosen, existing(dataclasses.replace(JOB, id="17.other", server="other")))
    assert not selects(chosen, existing(dataclasses.replace(JOB, id="17[1].head")))


def test_volumes_of_a_domain_that_stays_are_kept() -> None:
    """A guest that could not be destroyed, or is not ours, still uses its disk."""
    assert volumes_of(
        of_job_id("17.head"), volumes(JOB, 0) + volumes(JOB, 1), {domain_name(JOB, 0)}
    ) == volumes(JOB, 1)


@pytest.mark.parametrize(
    "name", ["tvm-17-a1-r0", "tvm-17-a1-r0-XYZ.qcow2", "debian.qcow2", "x-tvm-17-a1-r0-0000aaaa.qcow2", ""]
)
def test_a_volume_that_is_not_named_like_ours_is_never_removed(name: str) -> None:
    """The directory may hold other things."""
    assert volumes_of(of_job_id("17.head"), [name], ()) == []
    assert volumes_of(of_job(JOB), [name], ()) == []


def test_one_guest_selects_itself() -> None:
    """Rank 1 is not the start of rank 10: the mark stands behind the rank."""
    guests = [
        Guest(f"j17-r{rank}", rank, "node1", rank, "", "", domain_name(JOB, rank), Shape(1, 1))
        for rank in (1, 10)
    ]
    chosen = of_guest(guests[0])
    assert [selects(chosen, existing(JOB, rank)) for rank in (1, 10)] == [True, False]
    assert volumes_of(chosen, volumes(JOB, 1) + volumes(JOB, 10), ()) == volumes(JOB, 1)


@pytest.mark.parametrize("job_id", ["", "*", "17[].head", "../17", "17;rm"])
def test_what_is_no_job_id_is_refused(job_id: str) -> None:
    """It would become part of a pattern."""
    with pytest.raises(InventoryError, match="not a job id"):
        of_job_id(job_id)
