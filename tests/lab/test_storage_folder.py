"""Folders of guests on a real libvirtd: what users write there, nobody looks into as root."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import libvirt
import pytest
from driving import Job, leftovers, wait_for
from hostile_disk import trap

from nornir_torque_vm.connections.virconnect import library
from nornir_torque_vm.errors import StorageError
from nornir_torque_vm.lab import Lab
from nornir_torque_vm.lab.files import USER
from nornir_torque_vm.model import Image
from nornir_torque_vm.storage import RAMDISK, VOLUMES, Kind
from nornir_torque_vm.storage.folder import FolderVolumes
from nornir_torque_vm.storage.volumes import VolumeStorage

pytestmark = pytest.mark.lab

T = TypeVar("T")

DIRECTORY = "/var/lib/torque-vm/test-folders"
NODE = "node1"
FIFO = "/var/tmp/trap"
GUEST, OTHER = "tvm-17-a1-r0-0123abcd", "tvm-18-a1-r0-4567cdef"
SECONDS = 60.0
"""What takes longer waits for the FIFO."""


class Node:
    """The libvirtd of a node, reached by its socket."""

    def __init__(self, lab: Lab) -> None:
        self.lab, self.root = lab, lab.root(NODE)
        self.files = self.root / DIRECTORY[1:]
        self.conn = library().open(f"qemu+unix:///system?socket={self.root}/run/libvirt/libvirt-sock")
        self.around = VolumeStorage(self.conn, DIRECTORY, node=NODE)

    def folder(self, name: str, kind: Kind = VOLUMES) -> FolderVolumes:
        return FolderVolumes(VolumeStorage(self.conn, DIRECTORY, node=NODE, kind=kind), name, here=False)

    def open_folders(self) -> list[str]:
        names = [pool.name() for pool in self.conn.listAllStoragePools()]
        return [name for name in names if name.startswith(f"{VOLUMES.pool}-")]

    def forget(self) -> None:
        for pool in self.conn.listAllStoragePools():
            if pool.name().startswith(VOLUMES.pool):
                with contextlib.suppress(libvirt.libvirtError):
                    pool.destroy()
        self.lab.run(NODE, ["rm", "-rf", DIRECTORY])


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    made = Node(lab)
    made.forget()
    yield made
    made.forget()
    made.conn.close()


def in_time(action: Callable[[], T]) -> T:
    """What ``action`` returns, unless it hangs."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(action()), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert found, "it hangs, or failed"
    return found[0]  # type: ignore[no-any-return]


def written_by_its_owner(path: Path, data: bytes) -> None:
    """Write a file in place, as somebody does who may write it."""
    with path.open("r+b") as file:
        file.write(data)


def test_an_open_folder_is_one_like_any_other(node: Node) -> None:
    """Disk, content, owner, tail, names; its directory is root's."""
    folder = node.folder(GUEST)
    folder.put(f"{GUEST}-seed.iso", b"x" * 100_000 + b"end")
    node.lab.run(NODE, ["qemu-img", "create", "-q", "-f", "qcow2", "/var/tmp/base.qcow2", "64M"])
    folder.overlay(f"{GUEST}.qcow2", Image("base.qcow2", "/var/tmp/base.qcow2", virtual_size=64 << 20))
    folder.put(f"{GUEST}-console.log", b"", reader=(4242, 4343))
    assert folder.read(f"{GUEST}-seed.iso", -3) == b"end"
    assert folder.names(GUEST) == [f"{GUEST}-console.log", f"{GUEST}-seed.iso", f"{GUEST}.qcow2"]
    assert node.around.names("") == [GUEST]
    status = (node.files / GUEST).stat()
    assert (status.st_mode & 0o777, status.st_uid) == (0o711, 0)
    status = (node.files / GUEST / f"{GUEST}-console.log").stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o400, 4242, 4343)
    assert folder.remove(f"{GUEST}-seed.iso") is True
    assert folder.remove(f"{GUEST}-seed.iso") is False
    assert folder.dispose() is True
    assert (node.around.names(""), folder.names("")) == ([], [])
    assert node.open_folders() == []


def test_looking_makes_no_folder(node: Node) -> None:
    """And opens none."""
    folder = node.folder(GUEST)
    assert folder.names("") == []
    assert folder.remove("x") is False
    with pytest.raises(StorageError, match=f"there is no volume {DIRECTORY}/{GUEST}/x"):
        folder.read("x")
    folder.close()
    assert folder.dispose() is True
    assert node.around.names("") == []


def test_of_a_closed_folder_only_its_node_can_remove_what_is_in_it(node: Node) -> None:
    """From elsewhere nothing is seen or lost of it."""
    folder = node.folder(GUEST)
    folder.put("console.log", b"hello")
    folder.put("other", b"")
    assert node.open_folders() == [f"{VOLUMES.pool}-{GUEST}"]
    folder.close()
    folder.close()
    assert node.open_folders() == []
    assert (folder.names(""), folder.remove("console.log")) == ([], False)
    with pytest.raises(StorageError):
        folder.read("console.log")
    assert folder.dispose() is False
    assert (node.files / GUEST / "console.log").read_bytes() == b"hello"
    for name in ("console.log", "other"):
        (node.files / GUEST / name).unlink()
    assert folder.dispose() is True


def test_what_virtlogd_has_put_aside_is_left_to_the_node(node: Node) -> None:
    """The pool does not know it, and is not told to look."""
    folder = node.folder(GUEST)
    folder.put("console.log", b"")
    (node.files / GUEST / "console.log.0").touch()
    assert folder.dispose() is False
    assert [path.name for path in (node.files / GUEST).iterdir()] == ["console.log.0"]
    assert node.open_folders() == []


def test_content_that_comes_anew_finds_nothing_of_an_earlier_try(node: Node) -> None:
    """Its user may have written into what is there, and an upload is followed by a look."""
    folder = node.folder(GUEST)
    folder.put("seed.iso", b"old")
    folder.put("console.log", b"")
    with trap(node.root, FIFO) as lure:
        (node.files / GUEST / "console.log").write_bytes(lure)
        in_time(lambda: folder.put("seed.iso", b"new"))
        folder.put("disk", b"more")
        assert folder.names("") == ["disk", "seed.iso"]
        folder.put("console.log", b"")
        assert folder.names("") == ["console.log", "disk", "seed.iso"]


def test_a_folder_in_memory_is_made_only_where_that_is(node: Node) -> None:
    """A directory that is not mounted is not made: it would be on disk."""
    with pytest.raises(StorageError, match="there is no directory"):
        node.folder(GUEST, RAMDISK).put("x", b"")
    assert not node.files.exists()


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_a_file_that_leads_to_a_fifo_holds_nobody_up(node: Node, closed: bool) -> None:
    """A console that its owner wrote over, the disk of an emulator with the owner's rights."""
    folder, other = node.folder(GUEST), node.folder(OTHER)
    folder.put("seed.iso", b" " * 4096)
    folder.hole("console.log", 4096, (4242, 4343))
    with trap(node.root, FIFO) as lure:
        if closed:
            folder.close()
        written_by_its_owner(node.files / GUEST / "console.log", lure)
        assert in_time(lambda: node.around.put("tvm-1-seed.iso", b"x" * 1000))
        assert in_time(lambda: node.around.names("")) == sorted(["tvm-1-seed.iso", GUEST])
        assert in_time(lambda: other.put("seed.iso", b"x" * 1000))
        assert in_time(lambda: other.read("seed.iso")) == b"x" * 1000
        in_time(lambda: other.dispose() or True)
        if closed:
            assert in_time(lambda: [folder.dispose()]) == [False]
        else:
            assert in_time(lambda: folder.read("console.log")[:4]) == b"QFI\xfb"
            assert in_time(folder.dispose)
        assert in_time(lambda: [node.open_folders()]) == [[]]


def test_a_pool_with_such_a_file_would_hang(node: Node) -> None:
    """What all this is for: when libvirt does not look any more, folders are not needed."""
    node.around.put("tvm-1", b" " * 4096)
    with trap(node.root, FIFO) as lure:
        written_by_its_owner(node.files / "tvm-1", lure)
        thread = threading.Thread(target=lambda: node.around.names(""), daemon=True)
        thread.start()
        thread.join(2.0)
        assert thread.is_alive()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_an_owner_who_writes_into_consoles_holds_up_no_other_job(lab: Lab) -> None:
    """On both nodes, while the job runs and when it ends; a new job starts there meanwhile."""
    job = Job(lab, "echo ready; sleep 600", nodes=2)
    thread = threading.Thread(target=job.run)
    thread.start()
    nodes = lab.node_names[:2]
    with contextlib.ExitStack() as traps:
        lures = [traps.enter_context(trap(lab.root(node), FIFO)) for node in nodes]
        try:
            wait_for(lambda: "ready" in job.lines, 60)
            for node, lure in zip(nodes, lures, strict=True):
                (path,) = (lab.root(node) / "var/lib/torque-vm/volumes").glob("*/*-console.log")
                assert path.stat().st_uid == USER.uid
                path.chmod(0o600)
                written_by_its_owner(path, lure)
                names = lab.run(node, ["virsh", "-c", "qemu:///system", "pool-list", "--name"]).stdout
                assert f"{VOLUMES.pool}-tvm" not in names
            other = Job(lab, "echo other", nodes=2)
            assert in_time(lambda: [other.run().exit_code]) == [0]
        finally:
            job.session.cancel()
            thread.join(60)
        assert leftovers(lab) == {}
