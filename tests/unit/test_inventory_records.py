"""From what libvirt says exists back to an inventory: the way of every command without a plan file."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import HypervisorError
from nornir_torque_vm.found import FoundGuest, read_domain, state_name, why_dead
from nornir_torque_vm.inventory import hostdata
from nornir_torque_vm.inventory.records import guest_from, guests_inventory
from nornir_torque_vm.model import Guest, Image, Job, JobKeys, KeyPair, Node, Owner, Plan, Shape
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml

SETTINGS = Settings()
JOB = Job("17.head", "head", Owner("alice", 2001, 2001, "alice", "/home/alice"), attempt=2, nonce="0badcafe")
GUEST = Guest("j17-r1", 1, "node1", 0, "02:00:00:aa:bb:01", "11111111-2222-8333-8444-555555555555",
              "tvm-17-a2-r1-0000aaaa", Shape(2, 192 << 20, domain_type="qemu"))  # fmt: skip
PLAN = Plan(JOB, (Node("node1"),), (GUEST,), Image("micro.qcow2", "/pool/micro.qcow2"))
XML = domain_xml(PLAN, GUEST, GuestVolumes("/v/o", "/v/s", "/v/c"), SETTINGS)


def found(node: str = "node1", **changes: Any) -> FoundGuest:
    guest = read_domain(XML.replace('unit="b"', "unit='b'"), node=node, state=1)
    assert guest is not None
    return dataclasses.replace(guest, **changes)


def test_what_we_wrote_into_a_domain_is_what_we_find() -> None:
    """Whose guest it is comes from the metadata, what it is from the rest of the XML."""
    assert found() == FoundGuest(
        job_id="17.head", server="head", attempt=2, owner="alice", nonce="0badcafe", rank=1, guest="j17-r1",
        node="node1", domain=GUEST.domain, uuid=GUEST.uuid, mac=GUEST.mac, state="running", vcpus=2,
        memory=192 << 20, arch="x86_64", domain_type="qemu", bridge="br0",
    )  # fmt: skip


def test_a_found_guest_is_the_planned_guest() -> None:
    """Nothing that tasks need is lost on the way through libvirt."""
    assert guest_from(found()) == GUEST


@pytest.mark.parametrize(
    "metadata", ["", "<metadata/>", "<metadata><job xmlns='urn:else' id='17.head'/></metadata>"]
)
def test_a_domain_without_our_metadata_is_not_ours(metadata: str) -> None:
    """A name alone proves nothing."""
    assert read_domain(f"<domain><name>tvm-17-a1-r0-0000aaaa</name>{metadata}</domain>", node="n") is None


def test_a_damaged_description_is_a_hypervisor_error() -> None:
    """And names the node it came from."""
    with pytest.raises(HypervisorError, match="node n7: a domain's description is not XML"):
        read_domain("<domain>", node="n7")


def test_guests_and_their_nodes_become_hosts() -> None:
    """Nodes once each, guests with what filters ask for."""
    records = [found(), found("node2", guest="j17-r2", domain="tvm-17-a2-r2-0000aaaa", rank=2)]
    hosts = guests_inventory(records, SETTINGS, here="x").hosts
    assert list(hosts) == ["node1", "node2", "j17-r1", "j17-r2"]
    assert hosts["j17-r2"]["owner"] == "alice"
    assert hosts["j17-r2"]["job_id"] == "17.head"
    assert hostdata.node_of(hosts["j17-r2"]) == "node2"
    assert hostdata.guest_of(hosts["j17-r1"]) == GUEST


def test_guests_of_one_name_are_told_apart_by_their_domains() -> None:
    """What an earlier attempt left behind has the same guest names."""
    records = [found(), found(domain="tvm-17-a1-r1-0000aaaa", attempt=1)]
    hosts = guests_inventory(records, SETTINGS, here="x").hosts
    assert list(hosts) == ["node1", "j17-r1", "tvm-17-a1-r1-0000aaaa"]
    assert [hostdata.guest_of(host).index for host in list(hosts.values())[1:]] == [0, 1]


def test_a_guest_may_be_called_like_a_node() -> None:
    """Then it is the guest that gives way."""
    hosts = guests_inventory([found("j17-r1")], SETTINGS, here="x").hosts
    assert list(hosts) == ["j17-r1", GUEST.domain]


def test_keys_are_given_to_the_guests_they_know() -> None:
    """A guest of another job has no host key among them and is not spoken to."""
    keys = JobKeys(
        KeyPair("p", "ssh-ed25519 A"),
        KeyPair("p", "ssh-ed25519 U"),
        {"j17-r1": KeyPair("p", "ssh-ed25519 H")},
    )
    records = [found(), found(guest="j99-r0", domain="tvm-99-a1-r0-0000bbbb")]
    hosts = guests_inventory(records, SETTINGS, keys=keys, here="x").hosts
    assert (hosts["j17-r1"].get_connection_parameters("guest_ssh").extras or {})[
        "host_key"
    ] == "ssh-ed25519 H"
    assert hosts["j99-r0"].get_connection_parameters("guest_ssh").extras == {}


@pytest.mark.parametrize(
    ("state", "reason", "word"),
    [
        (1, 1, ""),  # running
        (2, 0, ""),  # blocked
        (3, 1, ""),  # suspended by an administrator
        (3, 2, ""),  # being migrated
        (3, 11, ""),  # starting up
        (3, 5, "I/O error"),
        (3, 6, "watchdog"),
        (3, 10, "crashed"),
        (4, 1, "shutting down"),
        (5, 1, "shut itself down"),
        (5, 2, "destroyed"),
        (5, 6, "emulator"),
        (5, 99, "shut off"),
        (6, 1, "crashed"),
    ],
)
def test_only_states_without_return_kill_a_guest(state: int, reason: int, word: str) -> None:
    """The numbers are virDomainState and its reasons, from libvirt-domain.h."""
    why = why_dead(state, reason)
    assert word in why
    assert bool(why) == bool(word)


@given(st.integers(-1, 100), st.integers(-1, 100))
def test_unknown_states_are_not_fatal_and_have_a_name(state: int, reason: int) -> None:
    """A newer libvirt may know states that we do not."""
    assert state_name(state)
    if not 3 <= state <= 6:
        assert why_dead(state, reason) == ""


def test_state_numbers_are_libvirts() -> None:
    """The numbers are written down so that nothing need be imported; this compares them."""
    libvirt = pytest.importorskip("libvirt")
    for name, constant in {
        "running": "RUNNING",
        "paused": "PAUSED",
        "shutoff": "SHUTOFF",
        "crashed": "CRASHED",
    }.items():
        assert state_name(getattr(libvirt, f"VIR_DOMAIN_{constant}")) == name
    assert "I/O" in why_dead(libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
    assert why_dead(libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_SHUTOFF_FAILED)
