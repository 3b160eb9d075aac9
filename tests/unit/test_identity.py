"""Names and numbers of guests: derived, safe, unique within a job by construction."""

from __future__ import annotations

import dataclasses
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.errors import InventoryError
from nornir_torque_vm.identity import (
    domain_name,
    guest_name,
    guest_uuid,
    job_slug,
    job_tag,
    mac_address,
)
from nornir_torque_vm.model import Job, Owner

OWNER = Owner("alice", 2001, 2001, "alice", "/home/alice")
JOB = Job("17[3].head", "head", OWNER, attempt=1, nonce="5eed5eed")

job_ids = st.from_regex(r"[0-9]{1,12}(\[[0-9]{1,12}\])?(\.[a-z0-9][a-z0-9.-]{0,20})?", fullmatch=True)
servers = st.text(max_size=20)


@pytest.mark.parametrize(
    ("job_id", "slug"),
    [
        ("17.head", "17"),
        ("17[3].head", "17-3"),
        ("0.tnode", "0"),
        ("17", "17"),
        ("1.head-1.cluster_a.example", "1"),
        ("123456789012[123456789012].h", "123456789012-123456789012"),
        ("1." + "h" * 253, "1"),
    ],
)
def test_a_job_id_becomes_a_word(job_id: str, slug: str) -> None:
    """TORQUE itself writes 17-3 for files of 17[3]."""
    assert job_slug(job_id) == slug


@pytest.mark.parametrize(
    "job_id",
    [
        "", ".head", "head", "17[].head", "17[a].head", "17[3", "17]3[", "17[3]head", "17.", "17.-h", "17..h",
        "17.h/x", "../17", "17/../18.h", "17 .h", "17.h\n", "\n17.h", "17.h\0", "17.h;id", "17.h'", '17.h"',
        "17.$(id)", "-17.h", "1234567890123.h", "1[1234567890123].h", "1." + "h" * 254, "17.hö",
        "17[3][4].h", "\u0661\u0667.h",
    ],
)  # fmt: skip
def test_what_is_no_job_id_is_refused(job_id: str) -> None:
    """Before it becomes part of a path, a name or a command; an array as a whole is no job."""
    with pytest.raises(InventoryError) as caught:
        job_slug(job_id)
    assert " is not a job id; job ids look like 17.server or 17[3].server" in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_refused_job_id_is_shown_quoted() -> None:
    """One line, no control characters."""
    with pytest.raises(InventoryError, match=r"^'17\\n' is not a job id"):
        job_slug("17\n")


def test_names_of_a_job() -> None:
    """The forms that other parts and administrators rely on."""
    assert guest_name("17[3].head", 0) == "j17-3-r0"
    assert guest_name("17.head", 12) == "j17-r12"
    assert job_tag(JOB) == "tvm-17-3-a1-1cd1b58b"
    assert domain_name(JOB, 0) == "tvm-17-3-a1-r0-1cd1b58b"
    assert domain_name(dataclasses.replace(JOB, attempt=4), 11) == "tvm-17-3-a4-r11-1cd1b58b"


def test_known_numbers_stay_the_same() -> None:
    """DHCP leases and site tables outlive a version: the derivation must never change by accident."""
    assert mac_address("head", "17.head", 0) == "62:2f:97:52:8f:9c"
    assert mac_address("head\udcff", "17.head", 1) == "42:ed:8a:d6:d1:2b"
    assert guest_uuid("head", "17[3].head", 2, "", 1) == "1cafdcbb-b00d-83a0-81e8-418391ab7c4e"
    assert guest_uuid("head", "17.head", 1, "5eed5eed", 0) == "539ad60e-b885-8641-952f-0ebf56932fce"


@pytest.mark.parametrize(
    "changed",
    [
        {"server": "head2"},
        {"nonce": "5eed5eee"},
        {"id": "17[3].head2"},
    ],
)
def test_the_digits_of_a_job_tell_equal_numbers_apart(changed: dict[str, str]) -> None:
    """Another server, or a server that counts from 0 again, gives other names."""
    other = dataclasses.replace(JOB, **changed)  # type: ignore[arg-type]
    assert job_tag(other) != job_tag(JOB)
    assert domain_name(other, 0) != domain_name(JOB, 0)
    assert job_tag(other)[:-8] == job_tag(JOB)[:-8]


def test_borders_between_the_hashed_parts_count() -> None:
    """Parts "ab" and "c" are not "a" and "bc": two servers would share their guests' addresses."""
    assert mac_address("a1:1", "1", 0) != mac_address("a", "1", 0)
    assert guest_uuid("x", "1", 1, "23", 4) != guest_uuid("x", "1", 12, "3", 4)


@given(servers, job_ids, st.integers(0, 10_000))
def test_mac_addresses_are_local_unicast_and_accepted_by_libvirt(server: str, job_id: str, rank: int) -> None:
    """Bit 1 of the first byte set, bit 0 clear; never FE, which libvirt keeps for its own tap end."""
    address = mac_address(server, job_id, rank)
    assert re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", address)
    first = int(address[:2], 16)
    assert first & 0b11 == 0b10
    assert first != 0xFE


@given(servers, job_ids, st.integers(0, 1000))
def test_mac_addresses_of_a_job_are_consecutive(server: str, job_id: str, rank: int) -> None:
    """Unique within a job by construction, in their last 40 bits too (libvirt's tap shares those)."""
    here, there = (
        int(mac_address(server, job_id, r).replace(":", ""), 16) & (1 << 40) - 1 for r in (rank, rank + 1)
    )
    assert (there - here) % (1 << 40) == 1


def test_mac_addresses_use_all_their_bits() -> None:
    """Among 2000 jobs no two first guests meet, and every allowed first byte turns up."""
    addresses = {mac_address("head", f"{number}.head", 0) for number in range(2000)}
    assert len(addresses) == 2000
    assert {int(address[:2], 16) for address in addresses} == {n << 2 | 2 for n in range(63)}


def test_mac_numbers_wrap_below_fe(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last number is fa:ff:…, and the next one starts again at 02:00:…."""
    from nornir_torque_vm import identity

    monkeypatch.setattr(identity, "_digest", lambda *parts: f"{(63 << 40) - 1:016x}" + "0" * 48)
    assert mac_address("s", "1", 0) == "fa:ff:ff:ff:ff:ff"
    assert mac_address("s", "1", 1) == "02:00:00:00:00:00"


@given(servers, job_ids, st.integers(0, 9), st.text(max_size=8), st.integers(0, 99))
def test_uuids_are_well_formed_and_of_our_own_kind(
    server: str, job_id: str, attempt: int, nonce: str, rank: int
) -> None:
    """RFC 9562 version 8, its variant, lower case."""
    text = guest_uuid(server, job_id, attempt, nonce, rank)
    value = uuid.UUID(text)
    assert str(value) == text
    assert value.variant == uuid.RFC_4122
    assert text[14] == "8"


def test_uuids_differ_by_everything_that_makes_a_guest() -> None:
    """Server, job, attempt, nonce and rank each make another guest."""
    variants = [
        ("s", "1", 1, "n", 0), ("t", "1", 1, "n", 0), ("s", "2", 1, "n", 0), ("s", "1", 2, "n", 0),
        ("s", "1", 1, "m", 0), ("s", "1", 1, "n", 1),
    ]  # fmt: skip
    assert len({guest_uuid(*variant) for variant in variants}) == len(variants)


def test_uuids_use_their_variant_bits() -> None:
    """All four variant digits turn up: the hash's bits are kept where the RFC leaves them."""
    assert {guest_uuid("s", str(n), 1, "", 0)[19] for n in range(100)} == set("89ab")


@given(job_ids, st.integers(1, 99), st.integers(0, 500))
def test_names_are_safe_everywhere(job_id: str, attempt: int, rank: int) -> None:
    """A host label of at most 63 characters; a file name; a word that needs no quotes."""
    job = Job(job_id, "head", OWNER, attempt=attempt)
    assert re.fullmatch(r"j[0-9-]+-r[0-9]+", guest_name(job_id, rank))
    assert len(guest_name(job_id, rank)) <= 63
    assert re.fullmatch(r"tvm-[0-9-]+-a[0-9]+-r[0-9]+-[0-9a-f]{8}", domain_name(job, rank))


@given(job_ids, job_ids, st.integers(0, 120), st.integers(0, 120))
def test_no_domain_name_is_the_start_of_another(one: str, two: str, rank: int, other: int) -> None:
    """Volumes are found by their domain's name as a prefix: r1 must not find those of r10."""
    first, second = domain_name(Job(one, "s", OWNER), rank), domain_name(Job(two, "s", OWNER), other)
    assert first == second or not second.startswith(first)


@given(st.text(max_size=20))
def test_any_text_is_a_job_id_or_an_inventory_error(text: str) -> None:
    """Hostile text never becomes part of a name."""
    try:
        slug = job_slug(text)
    except InventoryError as error:
        said = str(error)
        assert said.isprintable()
    else:
        assert re.fullmatch(r"[0-9]+(-[0-9]+)?", slug)


@pytest.mark.parametrize(
    "derive",
    [
        lambda: guest_name("../1", 0),
        lambda: mac_address("s", "../1", 0),
        lambda: guest_uuid("s", "../1", 1, "", 0),
        lambda: job_tag(dataclasses.replace(JOB, id="../1")),
        lambda: domain_name(dataclasses.replace(JOB, id="../1"), 0),
    ],
)
def test_nothing_is_derived_from_a_bad_job_id(derive: object) -> None:
    """Every function that takes a job id checks it."""
    assert callable(derive)
    with pytest.raises(InventoryError):
        derive()
