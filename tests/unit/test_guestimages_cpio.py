"""The archive an initramfs is: everything that goes in comes out, and nothing else can go in."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_torque_vm.guestimages import cpio

HEADER = 110
NAMES = st.lists(st.text("abc.-é", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)
FILES = st.dictionaries(
    NAMES.filter(lambda name: ".." not in name.split("/")), st.binary(max_size=20), max_size=6
)


def unpack(data: bytes) -> dict[str, tuple[int, bytes]]:
    """Path → (mode, content), as the kernel's init/initramfs.c reads them."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        start = at + HEADER
        name = data[start : start + name_size - 1].decode()
        start = -(-(start + name_size) // 4) * 4
        if name == "TRAILER!!!":
            return found
        found[name] = (mode, data[start : start + size])
        at = -(-(start + size) // 4) * 4


@given(FILES)
def test_what_goes_in_comes_out(files: dict[str, bytes]) -> None:
    """Names, contents and types survive for any sizes: the padding is where the format has it."""
    parents = {name[:at] for name in files for at, char in enumerate(name) if char == "/"}
    entries = [cpio.file(name, data) for name, data in files.items() if name not in parents]
    found = unpack(cpio.archive(entries))
    kept = {name: data for name, (mode, data) in found.items() if stat.S_ISREG(mode)}
    assert kept == {name: data for name, data in files.items() if name not in parents}


@given(FILES)
def test_parents_exist_and_come_first(files: dict[str, bytes]) -> None:
    """The kernel does not make missing directories: it drops what should be in them."""
    tops = {name for name in files if "/" not in name}
    entries = [cpio.file(n, d) for n, d in files.items() if n in tops or n.split("/")[0] not in tops]
    parents = {name[:at] for name in files for at, char in enumerate(name) if char == "/"}
    seen: set[str] = set()
    for name in unpack(cpio.archive([entry for entry in entries if entry.path not in parents])):
        assert "/" not in name or name.rpartition("/")[0] in seen
        seen.add(name)


def test_types_and_permissions() -> None:
    """A link's content is its target; a device keeps its numbers."""
    data = cpio.archive([
        cpio.directory("tmp", 0o1777), cpio.link("bin/sh", "busybox"), cpio.character_device("dev/c", 5, 1),
    ])  # fmt: skip
    found = unpack(data)
    assert found["tmp"] == (stat.S_IFDIR | 0o1777, b"")
    assert found["bin/sh"] == (stat.S_IFLNK | 0o777, b"busybox")
    assert stat.S_ISCHR(found["dev/c"][0])
    assert b"0000000500000001" in data


def test_equal_entries_make_equal_archives() -> None:
    """Order does not matter, and no date of the build gets in."""
    one, two = cpio.file("a", b"1"), cpio.file("b/c", b"2")
    assert cpio.archive([one, two]) == cpio.archive([two, one])


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a\0b"])
def test_a_path_outside_is_refused(path: str) -> None:
    """An archive cannot write beside the directory it is unpacked in."""
    with pytest.raises(ValueError, match="no path inside"):
        cpio.archive([cpio.file(path, b"")])


def test_a_path_twice_is_refused() -> None:
    """The later would win silently in the guest."""
    with pytest.raises(ValueError, match="twice"):
        cpio.archive([cpio.file("a", b"1"), cpio.file("a", b"2")])
