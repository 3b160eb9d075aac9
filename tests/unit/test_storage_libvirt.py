"""Volumes through libvirt, as far as the test driver goes (it takes no data); the rest is in tests/lab."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.connections.virconnect import library
from nornir_torque_vm.deadline import Deadline, current
from nornir_torque_vm.errors import DeadlineExceeded, HypervisorError, StorageError
from nornir_torque_vm.model import Image
from nornir_torque_vm.storage import RAMDISK, VOLUMES, storage_for, volumes
from nornir_torque_vm.storage.describe import pool_xml, volume_xml
from nornir_torque_vm.storage.volumes import VolumeStorage

IMAGE = Image("micro.qcow2", "/pool/micro & more.qcow2", virtual_size=1 << 30)
TEST_EXISTS = 9
"""What the test driver says where others say 90."""


@pytest.fixture
def conn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A hypervisor of our own; its driver knows no flags for making a pool."""
    monkeypatch.setattr(volumes, "_WITH_BUILD", 0)
    monkeypatch.setattr(volumes, "_EXISTS", TEST_EXISTS)
    monkeypatch.setattr(volumes, "_PAUSE", 0.001)
    (tmp_path / "node.xml").write_text("<node/>")
    opened = library().open(f"test://{tmp_path}/node.xml")
    yield opened
    opened.close()


@pytest.fixture
def storage(conn: Any) -> VolumeStorage:
    return VolumeStorage(conn, "/var/lib/torque-vm/volumes", node="node1")


class Wrapped:
    """A libvirt object some of whose methods are replaced."""

    def __init__(self, real: Any, **methods: Any) -> None:
        self._real, self._methods = real, methods

    def __getattr__(self, name: str) -> Any:
        return self._methods.get(name) or getattr(self._real, name)


def refusal(code: int, text: str = "no", number: int = 0, domain: int = 18) -> libvirt.libvirtError:
    """An error as libvirt raises it; ``number`` is the errno of a system error."""
    error = libvirt.libvirtError(text)
    error.err = (code, domain, text, 2, "", None, None, number, -1)
    return error


def raising(error: Exception) -> Any:
    def method(*_: object) -> None:
        raise error

    return method


def test_the_pool_is_made_on_demand_and_only_then(conn: Any, storage: VolumeStorage) -> None:
    """Making the object or a path asks nobody."""
    assert storage.path("tvm-1") == "/var/lib/torque-vm/volumes/tvm-1"
    assert conn.listAllStoragePools() == []
    assert storage.names("") == []
    (pool,) = conn.listAllStoragePools()
    assert (pool.name(), pool.isPersistent(), pool.isActive()) == ("torque-vm", 0, 1)
    assert "<path>/var/lib/torque-vm/volumes</path>" in pool.XMLDesc()


def test_an_overlay_names_its_base_and_both_formats(conn: Any, storage: VolumeStorage) -> None:
    """Paths reach the XML through an encoder."""
    assert storage.overlay("tvm-1.qcow2", IMAGE) == "/var/lib/torque-vm/volumes/tvm-1.qcow2"
    text = conn.storagePoolLookupByName("torque-vm").storageVolLookupByName("tvm-1.qcow2").XMLDesc()
    assert "<capacity unit='bytes'>1073741824</capacity>" in text
    assert "<allocation unit='bytes'>0</allocation>" in text
    assert "<path>/pool/micro &amp; more.qcow2</path>" in text
    assert text.count("<format type='qcow2'/>") == 2
    assert "<mode>0600</mode>" in text


def test_room_for_data_is_allocated_before_it_comes(conn: Any, storage: VolumeStorage) -> None:
    """The test driver takes none, and then the volume must not stay."""
    with pytest.raises(HypervisorError) as caught:
        storage.put("tvm-1", b"hello")
    assert caught.value.code == libvirt.VIR_ERR_NO_SUPPORT
    assert storage.names("") == []
    storage.put("empty", b"")
    storage._pool.createXML(volume_xml("full", 5, "raw"))
    assert storage._pool.storageVolLookupByName("full").info() == [0, 5, 5]
    assert "<format type='raw'/>" in storage._pool.storageVolLookupByName("full").XMLDesc()


def test_volumes_are_replaced_listed_and_removed(storage: VolumeStorage) -> None:
    """As the contract says; the lab's tests hold it against a real libvirtd."""
    for name in ("tvm-2", "tvm-1", "other", "tvm-1"):
        storage.overlay(name, IMAGE)
    assert storage.names("tvm") == ["tvm-1", "tvm-2"]
    assert (storage.remove("tvm-1"), storage.remove("tvm-1")) == (True, False)
    assert storage.names("") == ["other", "tvm-2"]


def test_a_pool_that_went_away_is_made_again(conn: Any, storage: VolumeStorage) -> None:
    """By an administrator, a restart, or a refresh that failed."""
    storage.overlay("tvm-1", IMAGE)
    conn.storagePoolLookupByName("torque-vm").destroy()
    assert storage.names("") == []
    storage.overlay("tvm-1", IMAGE)
    assert VolumeStorage(conn, storage.directory).names("") == ["tvm-1"]


def test_a_stopped_pool_is_started(conn: Any, storage: VolumeStorage) -> None:
    """A site may have defined it to start by itself."""
    pool = conn.storagePoolDefineXML(pool_xml(storage.directory, VOLUMES.pool))
    assert not pool.isActive()
    assert storage.names("") == []
    assert pool.isActive()
    pool.destroy()
    assert storage.names("") == []
    assert pool.isActive()


def test_the_loser_of_a_race_uses_the_winners_pool(conn: Any) -> None:
    """Both find none, one makes it, the other is told that it exists."""
    found: list[str] = []

    def look_up(name: str) -> Any:
        found.append(name)
        if len(found) == 1:
            conn.storagePoolCreateXML(pool_xml("/v", VOLUMES.pool))
            raise refusal(libvirt.VIR_ERR_NO_STORAGE_POOL)
        return conn.storagePoolLookupByName(name)

    assert VolumeStorage(Wrapped(conn, storagePoolLookupByName=look_up), "/v").names("") == []
    assert found == ["torque-vm", "torque-vm"]


def test_a_directory_that_belongs_to_another_pool_is_said_so(conn: Any) -> None:
    """Libvirt refuses it like a race, with the same code; a race is soon over."""
    taken = Wrapped(conn, storagePoolCreateXML=raising(refusal(libvirt.VIR_ERR_OPERATION_FAILED)))
    with pytest.raises(StorageError) as caught:
        VolumeStorage(taken, "/v", node="node1").names("")
    assert str(caught.value) == (
        "node node1: the storage pool torque-vm cannot be made; "
        "see virsh pool-list --all: another pool may have /v"
    )


def test_a_race_is_not_waited_for_beyond_the_deadline(conn: Any) -> None:
    """Nobody waits longer than allowed."""
    taken = Wrapped(conn, storagePoolCreateXML=raising(refusal(libvirt.VIR_ERR_OPERATION_FAILED)))
    token = current.set(Deadline.after(-1))
    try:
        with pytest.raises(DeadlineExceeded):
            VolumeStorage(taken, "/v").names("")
    finally:
        current.reset(token)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_pool_somewhere_else_is_not_used(conn: Any, slash: str) -> None:
    """Paths in a domain's XML would not be where the files are."""
    conn.storagePoolCreateXML(pool_xml("/old", VOLUMES.pool))
    assert VolumeStorage(conn, f"/old{slash}").names("") == []
    assert VolumeStorage(conn, f"/old{slash}").path("a") == "/old/a"
    with pytest.raises(StorageError) as caught:
        VolumeStorage(conn, f"/new{slash}", node="node1").names("")
    assert str(caught.value) == (
        "node node1: the storage pool is in /old, volume_dir in the settings says /new; "
        "when no guest uses it: virsh pool-destroy torque-vm"
    )


def with_pool(storage: VolumeStorage, **methods: Any) -> VolumeStorage:
    """The storage, its pool's methods replaced."""
    storage.names("")
    storage._pool = Wrapped(storage._pool, **methods)
    return storage


def test_a_refresh_waits_while_a_volume_is_being_made(storage: VolumeStorage) -> None:
    """Libvirt refuses it meanwhile, with a code for everything and nothing."""
    asked: list[int] = []

    def refresh(*_: object) -> None:
        asked.append(1)
        if len(asked) < 4:
            raise refusal(libvirt.VIR_ERR_INTERNAL_ERROR, "pool 'torque-vm' has asynchronous jobs running.")

    assert with_pool(storage, refresh=refresh).names("") == []
    assert len(asked) == 4


def test_a_refresh_that_never_works_is_an_error(storage: VolumeStorage) -> None:
    """In the end libvirt's own words are told."""
    with_pool(storage, refresh=raising(refusal(libvirt.VIR_ERR_INTERNAL_ERROR, "something is broken")))
    with pytest.raises(HypervisorError) as caught:
        storage.names("")
    assert str(caught.value) == "node node1: something is broken"
    assert caught.value.code == libvirt.VIR_ERR_INTERNAL_ERROR


def test_a_volume_that_vanishes_meanwhile_was_not_there(storage: VolumeStorage) -> None:
    """Two may clean up the same job."""
    gone = Wrapped(None, delete=raising(refusal(libvirt.VIR_ERR_NO_STORAGE_VOL)))
    assert with_pool(storage, storageVolLookupByName=lambda _: gone).remove("tvm-1") is False


@pytest.mark.parametrize(
    "error",
    [
        refusal(libvirt.VIR_ERR_SYSTEM_ERROR, "cannot allocate", errno.ENOSPC),
        refusal(libvirt.VIR_ERR_SYSTEM_ERROR, "cannot write", errno.EDQUOT),
        refusal(libvirt.VIR_ERR_INTERNAL_ERROR, "Child process (qemu-img create) … No space left on device"),
    ],
)
def test_a_full_disk_is_called_one(storage: VolumeStorage, error: Exception) -> None:
    """Libvirt tells the number when it met it itself, and only qemu-img's text otherwise."""
    with_pool(storage, createXML=raising(error))
    with pytest.raises(StorageError) as caught:
        storage.overlay("tvm-1", IMAGE)
    assert str(caught.value) == (
        "node node1: no space is left on the file system of /var/lib/torque-vm/volumes; "
        "free some space there, or set volume_dir to a directory on a larger one"
    )


@pytest.mark.parametrize(
    "error",
    [
        refusal(libvirt.VIR_ERR_SYSTEM_ERROR, "inaccessible backing store volume", errno.ENOENT),
        refusal(libvirt.VIR_ERR_INVALID_ARG, "No space left on device"),
    ],
)
def test_other_refusals_are_the_hypervisors(storage: VolumeStorage, error: Exception) -> None:
    """With libvirt's words and code."""
    with_pool(storage, createXML=raising(error))
    with pytest.raises(HypervisorError) as caught:
        storage.overlay("tvm-1", IMAGE)
    assert caught.value.what == str(error)
    assert caught.value.node == "node1"


class Stream:
    """Takes a few bytes at a time; ``kept`` is what arrives."""

    def __init__(self) -> None:
        self.kept, self.ends = b"", []  # type: ignore[var-annotated]

    def send(self, data: bytes) -> int:
        self.kept += data[:3]
        return len(data[:3])

    def recv(self, size: int) -> bytes:
        chunk, self.kept = self.kept[:3], self.kept[3:]
        return chunk

    def finish(self) -> None:
        self.ends.append("finish")

    def abort(self) -> None:
        self.ends.append("abort")


def uploading(conn: Any, stream: Stream, **methods: Any) -> tuple[VolumeStorage, list[str]]:
    """A storage whose volumes are ``stream``; and a list of what is deleted."""
    deleted: list[str] = []
    volume = Wrapped(None, upload=lambda *_: None, download=lambda *_: None, path=lambda: "/v/tvm-1",
                     delete=lambda: deleted.append("tvm-1"), **methods)  # fmt: skip
    storage = VolumeStorage(Wrapped(conn, newStream=lambda: stream), "/v", node="node1")
    return with_pool(storage, createXML=lambda _: volume), deleted


def test_data_is_sent_until_all_of_it_has_been_taken(conn: Any) -> None:
    """A stream may take less than it is given."""
    stream = Stream()
    storage, deleted = uploading(conn, stream)
    assert storage.put("tvm-1", b"0123456789") == "/v/tvm-1"
    assert (stream.ends, deleted) == (["finish", "finish"], [])


def test_data_that_did_not_arrive_is_noticed_and_the_volume_removed(conn: Any) -> None:
    """Libvirtd 9.0 reports no error when the last write of an upload fails (measured on a full disk)."""
    stream = Stream()
    real, stream.recv = stream.recv, lambda size: real(size).replace(b"9", b"\0")  # type: ignore[method-assign]
    storage, deleted = uploading(conn, stream)
    with pytest.raises(StorageError) as caught:
        storage.put("tvm-1", b"0123456789")
    assert str(caught.value) == (
        "node node1: /v/tvm-1 was not written completely; look at its file system: is it full or damaged?"
    )
    assert deleted == ["tvm-1"]


def test_an_upload_that_fails_is_given_up_and_the_volume_removed(conn: Any) -> None:
    """Even when giving up fails too."""
    stream = Stream()
    stream.finish = raising(refusal(libvirt.VIR_ERR_SYSTEM_ERROR, "full", errno.ENOSPC))  # type: ignore[method-assign]
    storage, deleted = uploading(conn, stream)
    with pytest.raises(StorageError, match="no space is left"):
        storage.put("tvm-1", b"0123456789")
    assert (stream.ends, deleted) == (["abort"], ["tvm-1"])
    stream.abort = raising(refusal(libvirt.VIR_ERR_SYSTEM_ERROR))  # type: ignore[method-assign]
    with pytest.raises(StorageError, match="no space is left"):
        storage.put("tvm-1", b"0123456789")
    assert deleted == ["tvm-1", "tvm-1"]


def test_other_drivers_get_volumes_and_are_asked_only_if_nobody_knows() -> None:
    """The URI usually tells."""
    site = Settings(volume_dir="/v")
    for storage in (
        storage_for(Wrapped(None, getType=lambda: "QEMU"), site, node="node1"),
        storage_for(None, site, node="node1", uri="qemu+tls://node1/system"),
    ):
        assert isinstance(storage, VolumeStorage)
        assert storage.path("a") == "/v/a"
    memory = storage_for(None, Settings(ramdisk_dir="/m"), uri="qemu:///system", kind=RAMDISK)
    assert memory.path("a") == "/m/a"
    with pytest.raises(HypervisorError) as caught:
        storage_for(Wrapped(None, getType=raising(refusal(38, "gone"))), site, node="node1")
    assert str(caught.value) == "node node1: gone"


def test_a_directory_that_is_not_ours_to_make_is_missing() -> None:
    """Of a file system in memory: nothing is there, and nothing is put on the disk instead."""
    flags = []

    def create(_described: str, flag: int) -> Any:
        flags.append(flag)
        raise refusal(libvirt.VIR_ERR_SYSTEM_ERROR, "cannot open directory", errno.ENOENT)

    conn = Wrapped(
        None,
        storagePoolLookupByName=raising(refusal(libvirt.VIR_ERR_NO_STORAGE_POOL)),
        storagePoolCreateXML=create,
    )
    storage = VolumeStorage(conn, "/m", node="node1", kind=RAMDISK)
    assert storage.capacity() == 0
    assert storage.holds("tvm-1") is False
    with pytest.raises(StorageError) as caught:
        storage.overlay("tvm-1.qcow2", IMAGE, 1 << 20)
    assert str(caught.value) == "node node1: there is no directory /m; create it, or correct ramdisk_dir"
    assert flags == [0, 0, 0]
    with pytest.raises(HypervisorError):
        VolumeStorage(conn, "/v", node="node1").names("")
