"""Volumes as files of this machine: the common contract, and what only files can suffer."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

import libvirt
import pytest
from storage_contract import Place, StorageContract

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.errors import ImageError, StorageError
from nornir_torque_vm.model import Image
from nornir_torque_vm.qcow2 import overlay_bytes
from nornir_torque_vm.storage import RAMDISK, Storage, storage_for
from nornir_torque_vm.storage.local import LocalStorage

GiB = 1 << 30


class LocalPlace(Place):
    def again(self) -> Storage:
        return LocalStorage(str(self.files), node="node1")


@pytest.fixture
def place(tmp_path: Path) -> LocalPlace:
    base = tmp_path / "base.qcow2"
    base.write_bytes(overlay_bytes("/nowhere", "raw", GiB))
    files = tmp_path / "not/made/yet"
    return LocalPlace(
        LocalStorage(str(files), node="node1"), files, Image(base.name, str(base), virtual_size=GiB)
    )


class TestLocalStorage(StorageContract):
    """The contract."""


def test_the_directory_is_made_when_it_is_missing(place: LocalPlace) -> None:
    """With the parents; others may pass through, as an emulator with an account of its own has to."""
    umask = os.umask(0)
    try:
        assert place.storage.names("") == []
    finally:
        os.umask(umask)
    assert place.files.stat().st_mode & 0o777 == 0o711


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_qemu_takes_the_overlay(place: LocalPlace, tmp_path: Path) -> None:
    """Its own check finds nothing, and reads fall through to the base."""
    base = tmp_path / "real.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "64M"], check=True)
    path = place.storage.overlay("tvm-1.qcow2", Image(base.name, str(base), virtual_size=64 << 20))
    done = subprocess.run(["qemu-img", "check", "-q", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    subprocess.run(["qemu-img", "compare", "-q", path, base], check=True)


def test_an_image_of_unknown_size_cannot_be_overlaid(place: LocalPlace) -> None:
    """A disk of no size would be worse."""
    with pytest.raises(ImageError):
        place.storage.overlay("tvm-1", Image("x", "/x", virtual_size=0))
    assert place.storage.names("") == []


def test_links_are_not_followed(place: LocalPlace, tmp_path: Path) -> None:
    """Neither read through nor written through; removing removes the link."""
    place.storage.names("")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (place.files / "tvm-1").symlink_to(secret)
    with pytest.raises(StorageError, match="cannot be read"):
        place.storage.read("tvm-1")
    place.storage.put("tvm-1", b"ours")
    assert secret.read_bytes() == b"secret"
    assert not (place.files / "tvm-1").is_symlink()


def test_what_is_no_file_is_not_read(place: LocalPlace) -> None:
    """A FIFO would hold us until somebody writes, a directory is no volume."""
    place.storage.names("")
    os.mkfifo(place.files / "fifo")
    (place.files / "folder").mkdir()
    for name in ("fifo", "folder"):
        with pytest.raises(StorageError) as caught:
            place.storage.read(name)
        assert str(caught.value) == f"node node1: {place.files}/{name} is not a regular file"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_one_and_leaves_nothing(
    place: LocalPlace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One line says where and what to do; the old volume stays."""
    place.storage.put("tvm-1", b"old")
    real = os.write
    left = [3]

    def write(fd: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(number, os.strerror(number))
        left[0] -= 1
        return real(fd, data[:1])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(StorageError) as caught:
        place.storage.put("tvm-1", b"new and longer")
    monkeypatch.undo()
    assert str(caught.value) == (
        f"node node1: no space is left on the file system of {place.files}; "
        "free some space there, or set volume_dir to a directory on a larger one"
    )
    assert [path.name for path in place.files.iterdir()] == ["tvm-1"]
    assert place.storage.read("tvm-1") == b"old"


def test_a_disk_that_takes_a_little_at_a_time_gets_everything(
    place: LocalPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write may be shorter than asked for."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:2]))
    place.storage.put("tvm-1", b"12345")
    assert (place.files / "tvm-1").read_bytes() == b"12345"


def test_other_errors_say_what_could_not_be_done(place: LocalPlace, tmp_path: Path) -> None:
    """With the system's own reason."""
    (tmp_path / "file").write_bytes(b"")
    storage = LocalStorage(str(tmp_path / "file"), node="node1")
    path = tmp_path / "file"
    for action, what in (
        (lambda: storage.put("a", b""), f"{path}/a cannot be written: Not a directory"),
        (lambda: storage.read("a"), f"{path}/a cannot be read: Not a directory"),
        (lambda: storage.remove("a"), f"{path}/a cannot be removed: Not a directory"),
        (lambda: storage.names(""), f"{path} cannot be listed: Not a directory"),
    ):
        with pytest.raises(StorageError) as caught:
            action()
        assert str(caught.value) == f"node node1: {what}"


@pytest.mark.parametrize("mode", [0o722, 0o777, 0o1777, 0o720])
def test_a_directory_others_may_write_into_is_refused(place: LocalPlace, mode: int) -> None:
    """They could put files in place of ours."""
    place.storage.names("")
    place.files.chmod(mode)
    with pytest.raises(StorageError) as caught:
        place.storage.put("a", b"")
    assert str(caught.value) == (
        f"node node1: others may write into {place.files}; chown root {place.files}; chmod 711 {place.files}"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give directories to others")
def test_a_directory_of_others_is_refused(place: LocalPlace) -> None:
    """The same reason."""
    place.storage.names("")
    os.chown(place.files, 2001, 0)
    with pytest.raises(StorageError, match="others may write into"):
        place.storage.names("")


def test_what_a_killed_process_left_unfinished_is_the_guests(
    place: LocalPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes with the guest's other files, by the start of its name."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(os, name, killed)
        with pytest.raises(KeyboardInterrupt):
            place.storage.put("tvm-1.qcow2", b"half")
    (left,) = place.storage.names("tvm-1")
    assert left.startswith("tvm-1.qcow2.")
    assert place.storage.remove(left)
    assert list(place.files.iterdir()) == []


def test_hidden_files_are_not_listed(place: LocalPlace) -> None:
    """They are nobody's volume."""
    place.storage.names("")
    (place.files / ".tvm-1.0123").write_bytes(b"half")
    assert place.storage.names("") == []


def test_the_test_driver_gets_local_storage_in_a_directory_of_each_node(tmp_path: Path) -> None:
    """It cannot take data; one machine plays many nodes."""
    site = Settings(volume_dir=str(tmp_path))
    conn = libvirt.open("test:///default")
    for storage in (
        storage_for(conn, site, node="node1"),
        storage_for(None, site, node="node1", uri="test:///default"),
    ):
        assert isinstance(storage, LocalStorage)
        assert storage.path("a") == f"{tmp_path}/node1/a"
    assert storage_for(conn, site).path("a") == f"{tmp_path}/a"
    assert LocalStorage("/v/").path("a") == "/v/a"
    conn.close()


def test_a_directory_that_is_not_ours_to_make_is_missing_here_too(tmp_path: Path) -> None:
    """Only that of the node within it is made."""
    site = Settings(ramdisk_dir=str(tmp_path / "memory"))
    storage = storage_for(None, site, node="node1", uri="test:///default", kind=RAMDISK)
    assert storage.capacity() == 0
    assert storage.holds("tvm-1") is False
    with pytest.raises(StorageError) as caught:
        storage.put("tvm-1", b"")
    assert str(caught.value) == (
        f"node node1: there is no directory {tmp_path}/memory; create it, or correct ramdisk_dir"
    )
    (tmp_path / "memory").mkdir()
    assert storage.capacity() > 0
    assert storage.put("tvm-1", b"") == f"{tmp_path}/memory/node1/tvm-1"
