"""What a domain says of itself is read back exactly, and nothing else is taken for it."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from render_kit import legal, parse_xml, plan_of

from nornir_torque_vm.render.metadata import (
    METADATA_URI,
    GuestRecord,
    find_record,
    job_element,
    parse_metadata,
)

PLAN = plan_of()
JOB, GUEST = PLAN.job, PLAN.guests[1]
RECORD = GuestRecord("17[3].head", "head.site", 2, "alice", "c0ffee00", 1, "j17-3-r1")
PLAIN = '<job server="s" id="1.s" attempt="1" owner="o" nonce="n" rank="0" guest="g"/>'


def test_the_element_is_an_interface() -> None:
    """Guests started by an earlier release are found by it."""
    assert job_element(JOB, GUEST) == (
        '<job xmlns="urn:nornir-torque-vm:1" server="head.site" id="17[3].head" attempt="2" owner="alice" '
        'nonce="c0ffee00" rank="1" guest="j17-3-r1"/>'
    )
    assert parse_metadata(job_element(JOB, GUEST)) == RECORD


@given(id_=legal, server=legal, owner=legal, nonce=legal, guest=legal)
def test_any_text_is_found_again(id_: str, server: str, owner: str, nonce: str, guest: str) -> None:
    """Whoever names a job or an account cannot change what the record says."""
    job = dataclasses.replace(
        JOB, id=id_, server=server, nonce=nonce, owner=dataclasses.replace(JOB.owner, name=owner)
    )
    element = job_element(job, dataclasses.replace(GUEST, name=guest))
    for text in (element, f"<domain><name>x</name><metadata>{element}</metadata></domain>"):
        assert parse_metadata(text) == GuestRecord(id_, server, 2, owner, nonce, 1, guest)


def test_it_is_found_beside_the_metadata_of_others_and_under_any_prefix() -> None:
    """Libvirt keeps what it is given; administrators' tools add their own."""
    text = f"""<domain><metadata><x:job xmlns:x="urn:other" id="1"/>
        <j:job xmlns:j="{METADATA_URI}"{PLAIN[4:-2]}/></metadata></domain>"""
    assert parse_metadata(text) == GuestRecord("1.s", "s", 1, "o", "n", 0, "g")
    assert find_record(parse_xml(text)) == parse_metadata(text)


def test_libvirts_answer_without_the_namespace_is_understood() -> None:
    """virDomain.metadata() gives the element back so."""
    assert parse_metadata(PLAIN) == GuestRecord("1.s", "s", 1, "o", "n", 0, "g")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML at all",
        "<domain/>",
        "<domain><metadata/></domain>",
        f"<domain><metadata>{PLAIN}</metadata></domain>",
        f'<domain><metadata><job xmlns="urn:nornir-torque-vm:2"{PLAIN[4:]}</metadata></domain>',
        f"<other>{PLAIN}</other>",
        PLAIN.replace('rank="0"', 'rank="first"'),
        PLAIN.replace('attempt="1"', 'attempt=""'),
        *(
            PLAIN.replace(f" {name}=", " x=")
            for name in ("id", "server", "attempt", "owner", "nonce", "rank", "guest")
        ),
    ],
)
def test_what_is_not_known_to_be_ours_is_left_alone(text: str) -> None:
    """Destroying goes by this record."""
    assert parse_metadata(text) is None
