"""Doctor's look at where disks are beside the volume directory."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from nornir_torque_vm.config.settings import Settings
from nornir_torque_vm.doctor.disks import Mount, image_cache, judge_cache, judge_ramdisk, mount_of, ramdisk
from nornir_torque_vm.doctor.model import Here, Mark

MIB = 1 << 20
TABLE = """\
21 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 21 0:25 / /ram rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=25%
31 21 0:26 / /ram\\040disk rw,nosuid - tmpfs tmpfs rw
32 21 0:27 / /over rw - tmpfs tmpfs rw
33 21 0:28 / /over rw,nodev - xfs /dev/vdb rw
"""
GOOD = Mount("tmpfs", ("rw", "nosuid", "nodev", "noexec"))
SITE = Settings(ramdisk_dir="/ram", ramdisk_mb=512, host_os_ram_mb=1024)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"), ("/ram", "tmpfs"), ("/ram/a/b", "tmpfs"), ("/ramp", "ext4"), ("/ram disk", "tmpfs"),
        ("/over/x", "xfs"),
    ],
)  # fmt: skip
def test_what_a_directory_is_on(path: str, kind: str) -> None:
    """The innermost mount, and of several at one place the last."""
    assert mount_of(path, TABLE).kind == kind


def test_how_it_is_mounted() -> None:
    """The mount's own options, not those of the file system."""
    assert mount_of("/ram", TABLE) == GOOD


@pytest.mark.parametrize(
    ("mount", "mode", "size", "mark", "cure"),
    [
        (GOOD, 0o711, 2048, Mark.OK, ""),
        (dataclasses.replace(GOOD, kind="ext4"), 0o711, 2048, Mark.FAIL, "mount a tmpfs at /ram"),
        (GOOD, 0o711, 511, Mark.FAIL, "mount -o remount,size=512m /ram, or lower ramdisk_mb"),
        (GOOD, 0o700, 2048, Mark.FAIL, "chmod 711 /ram"),
        (GOOD, 0o711, 7169, Mark.WARN, "mount -o remount,size=3584m /ram"),
        (Mount("tmpfs", ("nosuid", "rw")), 0o711, 2048, Mark.WARN, "mount -o remount,nosuid,nodev,noexec"),
    ],
)
def test_a_directory_for_disks_in_memory(mount: Mount, mode: int, size: int, mark: Mark, cure: str) -> None:
    """On a node of 8 GiB that keeps one for itself."""
    line = judge_ramdisk(SITE, mount, mode, size * MIB, 8192 * MIB)
    assert (line.subject, line.mark) == ("ramdisk_dir", mark)
    assert line.cure.startswith(cure)
    assert bool(line.cure) is (mark is not Mark.OK)


@pytest.mark.parametrize(("enabled", "mark"), [(False, Mark.OK), (True, Mark.FAIL)])
def test_a_directory_that_is_too_small_for_what_guests_share(enabled: bool, mark: Mark) -> None:
    """Where they share anything: by default twice what is there."""
    site = dataclasses.replace(SITE, unclot_enabled=enabled, unclot_shmem_default=3 << 30)
    line = judge_ramdisk(site, GOOD, 0o711, 2048 * MIB, 8192 * MIB)
    assert line.mark is mark
    if enabled:
        assert line.text == "/ram has 2048M, less than what a job's guests share, 4096M"
        assert line.cure == "mount -o remount,size=4096m /ram, or lower unclot_shmem_default"


def test_no_directory_is_no_mistake_unless_disks_are_to_be_there(tmp_path: Path) -> None:
    """By default nothing is said."""
    assert list(ramdisk(Here(Settings(), "node1"))) == []
    (line,) = ramdisk(Here(Settings(filesystem_type_default="ramdisk"), "node1"))
    assert line.mark is Mark.FAIL
    (line,) = ramdisk(Here(Settings(ramdisk_dir=str(tmp_path / "missing")), "node1"))
    assert (line.mark, line.cure) == (Mark.FAIL, f"mount a tmpfs of limited size at {tmp_path}/missing")


def test_this_machines_own_mounts_are_read(tmp_path: Path) -> None:
    """Whatever they are, a directory of a test has no room set aside for it."""
    tmp_path.chmod(0o711)
    found = list(ramdisk(Here(Settings(ramdisk_dir=str(tmp_path), ramdisk_mb=1 << 24), "node1")))
    assert found[-1].mark is Mark.FAIL
    assert "not in memory" in found[-1].text or "less than one disk" in found[-1].text


def test_a_directory_for_copies_of_images(tmp_path: Path) -> None:
    """Without digests nothing is copied; others' hands; room that is not there."""
    assert list(image_cache(Here(Settings(), "node1"))) == []
    pool, copies = tmp_path / "pool", tmp_path / "copies"
    pool.mkdir()
    site = Settings(image_pool=str(pool), image_cache=str(copies), image_cache_mb=1)
    first, last = image_cache(Here(site, "node1"))
    assert (first.mark, first.cure) == (Mark.WARN, "add the digests of the images to it")
    assert last.mark is Mark.OK
    (pool / "catalogue.json").write_text(json.dumps({"a": {"sha256": "0" * 64}}))
    copies.mkdir()
    (copies / f"{'0' * 64}.qcow2").write_bytes(b"x" * MIB)
    (line,) = image_cache(Here(site, "node1"))
    assert (line.mark, line.text) == (Mark.OK, f"{copies} has 1 copies of images, 1M of 1M")
    copies.chmod(0o777)
    (line,) = image_cache(Here(site, "node1"))
    assert (line.mark, line.cure) == (Mark.FAIL, f"chown root {copies}")
    line = judge_cache(site, 1, 0, MIB - 1, 4 * MIB)
    assert (line.mark, line.cure) == (Mark.WARN, "lower image_cache_mb below 0, or free some of its 4M")
