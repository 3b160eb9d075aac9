"""The disk a BIOS boots: its first sector, and what the tools make of the rest."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.guestimages import disk

TOOLS = ("mformat", "mcopy", "mtype", "syslinux", "qemu-img", "mke2fs", "debugfs")
MISSING = [tool for tool in TOOLS if shutil.which(tool) is None]
needs_tools = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

SECTORS = st.integers(0, 2**32 - 1).map(lambda number: number * disk.SECTOR)
PARTITIONS = st.lists(
    st.builds(disk.Partition, SECTORS, SECTORS, st.integers(1, 255), st.booleans()), max_size=4
)


@given(st.binary(max_size=440), PARTITIONS)
def test_the_first_sector_holds_code_and_table(code: bytes, partitions: list[disk.Partition]) -> None:
    """Code from 0, entries from 446, the mark at 510: what every BIOS and kernel expects."""
    sector = disk.partition_table(code, tuple(partitions))
    assert len(sector) == 512
    assert sector.startswith(code)
    assert sector[510:] == b"\x55\xaa"
    for number, partition in enumerate(partitions):
        entry = struct.unpack_from("<B3sB3sII", sector, 446 + 16 * number)
        flag, first, kind, last, start, size = entry
        assert first == last == b"\xfe\xff\xff"  # "use the sector number instead"
        assert (flag == 0x80, kind) == (partition.active, partition.kind)
        assert (start * 512, size * 512) == (partition.start, partition.size)
    assert not any(sector[446 + 16 * len(partitions) : 510])


@pytest.mark.parametrize(
    ("code", "partitions"),
    [
        (bytes(441), ()),
        (b"", (disk.Partition(0, 512, 1),) * 5),
        (b"", (disk.Partition(1, 512, 1),)),
        (b"", (disk.Partition(512, 511, 1),)),
    ],
)
def test_what_does_not_fit_is_refused(code: bytes, partitions: tuple[disk.Partition, ...]) -> None:
    """Rather than cut off: such a disk would not boot, and nobody would know why."""
    with pytest.raises(ValueError, match=r"MBR|whole sectors"):
        disk.partition_table(code, partitions)


@needs_tools
def test_boot_files_and_root_tree_are_on_the_disk(tmp_path: Path) -> None:
    """Read back by other tools than wrote them; the image is a qcow2 without backing file."""
    kernel, config = tmp_path / "k", tmp_path / "c"
    kernel.write_bytes(bytes(range(256)) * 5000)
    config.write_text(disk.syslinux_config("quiet"))
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/secret").write_text("hello")
    (tree / "etc/secret").chmod(0o640)
    raw, image = tmp_path / "d.raw", tmp_path / "d.qcow2"
    disk.write_boot_disk(raw, {"vmlinuz": kernel, "syslinux.cfg": config}, disk.RootTree(tree, 16 << 20))
    disk.convert(raw, image, compress=False)

    boot = subprocess.run(
        ["mtype", "-i", f"{raw}@@{disk.ALIGNMENT}", "::vmlinuz"], capture_output=True, check=True
    )
    assert boot.stdout == kernel.read_bytes()
    loader = subprocess.run(
        ["mdir", "-a", "-b", "-i", f"{raw}@@{disk.ALIGNMENT}", "::"], capture_output=True, check=True
    )
    assert b"ldlinux.sys" in loader.stdout
    start, size = struct.unpack_from("<II", raw.read_bytes()[:512], 446 + 16 + 8)
    assert size * 512 == 16 << 20
    root = f"{raw}?offset={start * 512}"
    found = subprocess.run(["debugfs", "-R", "cat /etc/secret", root], capture_output=True, check=True)
    assert found.stdout == b"hello"
    stat = subprocess.run(
        ["debugfs", "-R", "stat /etc/secret", root], capture_output=True, text=True, check=True
    )
    assert "Mode:  0640" in stat.stdout
    info = json.loads(subprocess.check_output(["qemu-img", "info", "--output=json", image]))
    assert (info["format"], info.get("backing-filename")) == ("qcow2", None)


def test_the_loader_boots_at_once() -> None:
    """No prompt, no menu, no pause: each would be paid by every guest."""
    config = disk.syslinux_config("console=ttyS0 quiet")
    assert "PROMPT 0\n" in config
    assert "APPEND console=ttyS0 quiet\n" in config
