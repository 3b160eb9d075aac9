"""A real libvirtd and QEMU take the rendered domain, and leave the base images alone."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from render_kit import keys_for, parse_xml, plan_of

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.virconnect import library
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.model import Image
from nornir_torque_vm.render.cloudinit.iso import seed_iso
from nornir_torque_vm.render.cloudinit.seed import seed_files
from nornir_torque_vm.render.domain import GuestVolumes, domain_xml
from nornir_torque_vm.render.metadata import METADATA_URI, parse_metadata
from nornir_torque_vm.storage.volumes import VolumeStorage

pytestmark = pytest.mark.lab

NODE = "node1"
SETTINGS = Settings(network_filter="")
FOLDER = "/var/tmp/test-images"
QEMU_USER = 64055
"""Uid of Debian's libvirt-qemu, which the lab's nodes know too."""
CHAIN = tuple(f"{FOLDER}/{name}.qcow2" for name in ("top", "middle", "lowest"))


@pytest.fixture
def conn(lab: Lab) -> Iterator[Any]:
    opened = library().open(f"qemu+unix:///system?socket={lab.root(NODE)}/run/libvirt/libvirt-sock")
    yield opened
    opened.close()


@pytest.fixture
def image(lab: Lab) -> Iterator[Image]:
    """Three images on top of each other, readable for everybody and writable for nobody."""
    lab.run(NODE, ["mkdir", "-p", FOLDER])
    lab.run(NODE, ["qemu-img", "create", "-q", "-f", "qcow2", CHAIN[2], "64M"])
    for upper, lower in ((CHAIN[1], CHAIN[2]), (CHAIN[0], CHAIN[1])):
        lab.run(NODE, ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", lower, upper])
    lab.run(NODE, ["chmod", "444", *CHAIN])
    yield Image("top.qcow2", CHAIN[0], virtual_size=64 << 20, backing=CHAIN[1:])
    lab.run(NODE, ["rm", "-r", FOLDER])


@pytest.fixture
def started(conn: Any, image: Image) -> Iterator[Any]:
    """A guest that is started paused: its emulator has everything open, no instruction has run."""
    plan = plan_of(1, domain_type="qemu", image=image)
    guest, storage = plan.guests[0], VolumeStorage(conn, SETTINGS.volume_dir, node=NODE)
    seed = seed_iso(seed_files(plan, guest, keys_for(), "10.89.0.11", SETTINGS))
    volumes = GuestVolumes(
        storage.overlay(f"{guest.domain}.qcow2", image),
        storage.put(f"{guest.domain}-seed.iso", seed),
        storage.path(f"{guest.domain}-console.log"),
    )
    text = domain_xml(plan, guest, volumes, SETTINGS)
    flags = libvirt.VIR_DOMAIN_START_VALIDATE | libvirt.VIR_DOMAIN_START_PAUSED
    yield conn.createXML(text, flags)
    with contextlib.suppress(libvirt.libvirtError):
        conn.lookupByName(guest.domain).destroy()
    for name in storage.names(guest.domain):
        storage.remove(name)


def test_libvirt_adds_no_bridges_and_keeps_the_chain(started: Any, image: Image) -> None:
    """What it made of our text: one bus, three images named and the end of the chain."""
    devices = parse_xml(started.XMLDesc()).find("devices")
    assert devices is not None
    models = [controller.get("model") for controller in devices.findall("controller[@type='pci']")]
    assert models == ["pcie-root"]
    sources = [element.get("file") for element in devices.findall("disk[1]//source")]
    assert sources[1:] == [image.path, *image.backing]
    assert devices.findall("disk[1]/backingStore/backingStore/backingStore/backingStore") != []


def test_whose_it_is_can_be_asked_in_both_ways(started: Any) -> None:
    """From the metadata alone and from the whole description."""
    alone = started.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_URI)
    record = parse_metadata(alone)
    assert record is not None
    assert record == parse_metadata(started.XMLDesc())
    assert (record.job_id, record.owner, record.guest) == ("17[3].head", "alice", "j17-3-r0")


@pytest.mark.parametrize("stated", [True, False], ids=["as rendered", "without the labels"])
def test_no_base_image_changes_owner(lab: Lab, image: Image, *, stated: bool) -> None:
    """With a libvirt that takes over what it opens; without our word it takes all three."""
    overlay, seed = f"{FOLDER}/overlay", f"{FOLDER}/seed"
    lab.run(NODE, ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", CHAIN[0], overlay])
    (lab.root(NODE) / seed[1:]).write_bytes(b"x" * 4096)
    plan = plan_of(1, domain_type="qemu", image=image)
    text = domain_xml(plan, plan.guests[0], GuestVolumes(overlay, seed, f"{FOLDER}/log"), SETTINGS)
    if not stated:
        text = text.replace('<seclabel model="dac" relabel="no"/>', "")
    probe = [sys.executable, str(Path(__file__).with_name("ownership_probe.py")), f"{FOLDER}/libvirt"]
    found = json.loads(lab.run(NODE, [*probe, overlay, *CHAIN], input=text).stdout)
    assert found[overlay]["during"] == QEMU_USER, "else this libvirt takes nothing over"
    for base in CHAIN:
        assert found[base]["touched"] is not stated
        assert (found[base]["during"] == found[base]["after"] == 0) is stated


def test_a_guest_can_be_started_again_under_its_name(started: Any, conn: Any) -> None:
    """Nothing of a transient domain stays."""
    assert started.isPersistent() == 0
    text = started.XMLDesc()
    started.destroy()
    assert started.name() not in [domain.name() for domain in conn.listAllDomains()]
    assert conn.createXML(text, libvirt.VIR_DOMAIN_START_PAUSED).isActive()
