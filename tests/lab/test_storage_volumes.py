"""Volumes through a real libvirtd: the common contract, and what only a real one does."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from storage_contract import Place, StorageContract

from nornir_torque_vm.connections.virconnect import library
from nornir_torque_vm.errors import HypervisorError, StorageError
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.model import Image
from nornir_torque_vm.storage import VOLUMES, Storage, volumes
from nornir_torque_vm.storage.volumes import VolumeStorage

pytestmark = pytest.mark.lab

DIRECTORY = "/var/lib/torque-vm/test-volumes"
NODE = "node1"
MiB = 1 << 20


class VolumePlace(Place):
    conn: Any
    uri: str
    node: Lab

    def again(self) -> Storage:
        return VolumeStorage(self.conn, DIRECTORY, node=NODE)

    def run(self, *words: str) -> None:
        self.node.run(NODE, words)


def forget_pool(conn: Any) -> None:
    """Stop our pool if there is one; a transient one is then forgotten, its files stay."""
    with contextlib.suppress(libvirt.libvirtError):
        conn.storagePoolLookupByName(VOLUMES.pool).destroy()


@pytest.fixture
def place(lab: Lab) -> Iterator[VolumePlace]:
    """The libvirtd of a node, reached by its socket; a directory that does not exist yet."""
    root = lab.root(NODE)
    uri = f"qemu+unix:///system?socket={root}/run/libvirt/libvirt-sock"
    conn = library().open(uri)
    forget_pool(conn)
    lab.run(NODE, ["qemu-img", "create", "-q", "-f", "qcow2", "/var/tmp/base.qcow2", "64M"])
    image = Image("base.qcow2", "/var/tmp/base.qcow2", virtual_size=64 * MiB)
    place = VolumePlace(VolumeStorage(conn, DIRECTORY, node=NODE), root / DIRECTORY[1:], image)
    place.conn, place.uri, place.node = conn, uri, lab
    yield place
    forget_pool(conn)
    lab.run(NODE, ["rm", "-rf", DIRECTORY, "/var/tmp/base.qcow2"])
    conn.close()


class TestVolumeStorage(StorageContract):
    """The contract."""


def test_the_directory_is_made_for_root_alone_but_to_pass_through(place: VolumePlace) -> None:
    """The emulator may have an account of its own."""
    assert place.storage.names("") == []
    status = place.files.stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o711, 0, 0)


def test_an_image_of_unknown_size_gives_a_disk_of_its_size(place: VolumePlace) -> None:
    """Libvirt looks itself."""
    place.storage.overlay("tvm-1.qcow2", Image("base.qcow2", place.image.path, virtual_size=0))
    place.run("qemu-img", "check", "-q", f"{DIRECTORY}/tvm-1.qcow2")
    shown = place.node.run(NODE, ["qemu-img", "info", f"{DIRECTORY}/tvm-1.qcow2"]).stdout
    assert "(67108864 bytes)" in shown
    assert "backing file format: qcow2" in shown


def test_the_base_image_stays_as_it_is(place: VolumePlace) -> None:
    """Owner, mode, times and content."""
    base = place.node.root(NODE) / place.image.path[1:]
    before = base.stat(), base.read_bytes()
    place.storage.overlay("tvm-1.qcow2", place.image)
    place.storage.names("")
    place.storage.remove("tvm-1.qcow2")
    after = base.stat(), base.read_bytes()
    for field in ("st_uid", "st_gid", "st_mode", "st_mtime_ns", "st_ctime_ns", "st_size"):
        assert getattr(after[0], field) == getattr(before[0], field)
    assert after[1] == before[1]


def test_a_missing_base_image_is_the_hypervisors_refusal(place: VolumePlace) -> None:
    """One line with the path; nothing stays."""
    with pytest.raises(HypervisorError) as caught:
        place.storage.overlay("tvm-1.qcow2", Image("x", "/srv/none.qcow2", virtual_size=MiB))
    assert "/srv/none.qcow2" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert place.storage.names("") == []


def test_a_full_disk_is_called_one_and_nothing_stays(place: VolumePlace) -> None:
    """For data that does not fit at all, for the last bytes of it, and for an overlay."""
    place.run("mkdir", "-p", DIRECTORY)
    place.run("mount", "-t", "tmpfs", "-o", "size=256k", "full", DIRECTORY)
    try:
        for data in (os.urandom(5 * MiB), os.urandom(300_000)):
            with pytest.raises(
                StorageError, match=f"node1: no space is left on the file system of {DIRECTORY}"
            ):
                place.storage.put("tvm-1", data)
        place.storage.put("tvm-1", os.urandom(200_000))
        with pytest.raises(StorageError, match="no space is left"):
            place.storage.overlay("tvm-1.qcow2", place.image)
        assert place.storage.names("") == ["tvm-1"]
    finally:
        forget_pool(place.conn)
        place.run("umount", DIRECTORY)


def test_a_pool_that_is_taken_away_is_made_again_with_what_is_there(place: VolumePlace) -> None:
    """What a restart of the node's libvirtd does to a transient pool."""
    place.storage.put("tvm-1", b"hello")
    forget_pool(place.conn)
    assert place.storage.read("tvm-1") == b"hello"
    forget_pool(place.conn)
    assert place.storage.names("") == ["tvm-1"]
    forget_pool(place.conn)
    assert place.storage.remove("tvm-1") is True


def use(uri: str, number: int) -> list[str]:
    """What another process does: its own connection, its own storage."""
    conn = library().open(uri)
    storage = VolumeStorage(conn, DIRECTORY)
    for _ in range(3):
        storage.put(f"tvm-{number}", b"x" * 1000)
        storage.names("")
    names = storage.names(f"tvm-{number}")
    conn.close()
    return names


def test_several_processes_may_begin_at_the_same_moment(place: VolumePlace) -> None:
    """Hooks of several jobs on a node that has just been booted."""
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.starmap(use, [(place.uri, number) for number in range(3)])
    assert found == [[f"tvm-{number}"] for number in range(3)]


def test_a_directory_of_another_pool_is_refused(place: VolumePlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libvirt lets no two pools share one."""
    monkeypatch.setattr(volumes, "_PAUSE", 0.001)
    text = f"<pool type='dir'><name>theirs</name><target><path>{DIRECTORY}</path></target></pool>"
    theirs = place.conn.storagePoolCreateXML(text, libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    try:
        with pytest.raises(StorageError, match="another pool may have"):
            place.storage.names("")
    finally:
        theirs.destroy()


def test_what_the_contract_checked_is_on_the_node_not_here(place: VolumePlace) -> None:
    """The lab's files are not the machine's."""
    place.storage.put("tvm-1", b"x")
    assert place.files.exists()
    assert not Path(DIRECTORY).exists()
