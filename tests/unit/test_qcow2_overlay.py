"""Overlays: what we write is a qcow2 file in our own eyes and in QEMU's."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_torque_vm.errors import ImageError
from nornir_torque_vm.qcow2 import HEADER_BYTES, MAX_SIZE, overlay_bytes, parse_header

GiB = 1 << 30
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
base_paths = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200
).map(lambda tail: "/" + tail)


@given(base_paths, st.sampled_from(["qcow2", "raw"]), st.integers(1, MAX_SIZE))
@settings(max_examples=50)
def test_what_is_written_reads_back(path: str, fmt: str, size: int) -> None:
    """An overlay's header says exactly what was asked for; only the size is rounded up to sectors."""
    data = overlay_bytes(path, fmt, size)
    header = parse_header(data[:HEADER_BYTES])
    assert (header.version, header.backing_file, header.backing_format) == (3, path, fmt)
    assert header.virtual_size % 512 == 0
    assert size <= header.virtual_size < size + 512
    assert (header.encrypted, header.dirty, header.corrupt, header.data_file) == (False, False, False, "")
    assert header.tables_end <= len(data) == -(-len(data) // 65536) * 65536
    assert header.tables_end > len(data) - 65536


def test_an_overlay_may_leave_its_base_to_be_told() -> None:
    """Who opens it by itself finds an empty disk, not somebody's file."""
    header = parse_header(overlay_bytes("", "qcow2", GiB))
    assert (header.backing_file, header.backing_format, header.virtual_size) == ("", "", GiB)


@pytest.mark.parametrize("path", ["base.qcow2", "nbd://host/x", "/a\0b", "/" + "x" * 1023])
def test_an_overlay_needs_a_proper_absolute_base_path(path: str) -> None:
    """A relative name would be resolved from the overlay's directory, a URL by QEMU."""
    with pytest.raises(
        ImageError, match="cannot be the base of an overlay; it takes an absolute path of at most 1023"
    ):
        overlay_bytes(path, "qcow2", GiB)


def test_a_base_path_of_1023_bytes_is_the_longest() -> None:
    """Counted in bytes, not characters."""
    assert overlay_bytes("/" + "x" * 1022, "raw", GiB)
    with pytest.raises(ImageError):
        overlay_bytes("/" + "é" * 512, "raw", GiB)


def test_a_base_path_that_is_no_utf8_is_written_byte_for_byte() -> None:
    """A pool's path is bytes to the kernel."""
    data = overlay_bytes("/pool/\udce4", "raw", GiB)
    assert b"/pool/\xe4" in data
    assert parse_header(data).backing_file == "/pool/\udce4"


@pytest.mark.parametrize("fmt", ["", "vmdk", "QCOW2"])
def test_an_overlay_names_a_known_base_format(fmt: str) -> None:
    """Any other word would let QEMU guess from content that a guest may have written."""
    with pytest.raises(
        ImageError, match=f"a base image of format '{fmt}' is not supported; use qcow2 or raw"
    ):
        overlay_bytes("/pool/a", fmt, GiB)


@pytest.mark.parametrize("size", [-1, 0, MAX_SIZE + 1])
def test_an_overlay_has_between_1_byte_and_16_tebibytes(size: int) -> None:
    """Both limits themselves are tested by writing one."""
    with pytest.raises(ImageError, match=f"an overlay of {size} bytes cannot be made; give 1 byte to 16 TiB"):
        overlay_bytes("/pool/a", "raw", size)


def test_a_small_overlay_is_four_clusters() -> None:
    """256 KiB on disk before the guest writes anything; one level-1 entry covers 512 MiB."""
    assert MAX_SIZE == 16 * 2**40
    assert len(overlay_bytes("/pool/a", "raw", 1)) == 4 * 65536
    assert len(overlay_bytes("/pool/a", "raw", 4096 * GiB)) == 4 * 65536
    assert len(overlay_bytes("/pool/a", "raw", 4096 * GiB + 1)) == 5 * 65536


@needs_qemu_img
@pytest.mark.parametrize(
    ("size", "fmt"),
    [(1, "raw"), (512 << 20, "qcow2"), ((512 << 20) + 1, "qcow2"), (10 * GiB, "qcow2"), (MAX_SIZE, "raw")],
)
def test_qemu_finds_no_fault_in_an_overlay(tmp_path: Path, size: int, fmt: str) -> None:
    """``qemu-img check`` counts no error and no leak, ``info`` reports the base and its format."""
    base, overlay = tmp_path / "base image", tmp_path / "overlay.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", fmt, base, str(min(size, GiB))], check=True)
    overlay.write_bytes(overlay_bytes(str(base), fmt, size))
    checked = subprocess.run(
        ["qemu-img", "check", "--output=json", overlay], check=True, capture_output=True, text=True
    )
    verdict = json.loads(checked.stdout)
    assert verdict["check-errors"] == 0
    assert not {"corruptions", "leaks"} & verdict.keys()
    shown = subprocess.run(
        ["qemu-img", "info", "--output=json", overlay], check=True, capture_output=True, text=True
    )
    info = json.loads(shown.stdout)
    assert info["virtual-size"] == -(-size // 512) * 512
    assert (info["full-backing-filename"], info["backing-filename-format"]) == (str(base), fmt)
    assert info["format-specific"]["data"]["compat"] == "1.1"
    assert info["format-specific"]["data"]["refcount-bits"] == 16


@needs_qemu_img
def test_an_overlay_shows_the_base_and_takes_writes(tmp_path: Path) -> None:
    """Reads fall through to the base; a write lands in the overlay and leaves it consistent."""
    base, overlay, flat = tmp_path / "base", tmp_path / "overlay", tmp_path / "flat"
    base.write_bytes(b"A" * 4096 + bytes(1 << 20))
    overlay.write_bytes(overlay_bytes(str(base), "raw", 1 << 21))
    if shutil.which("qemu-io"):
        subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 66 1M 64k", overlay],
                       check=True, capture_output=True)  # fmt: skip
    subprocess.run(["qemu-img", "check", "-q", overlay], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", overlay, flat], check=True)
    content = flat.read_bytes()
    assert content[:5000] == b"A" * 4096 + bytes(904)
    assert len(content) == 1 << 21
    if shutil.which("qemu-io"):
        assert content[1 << 20 : (1 << 20) + 65536] == b"B" * 65536
