"""The qcow2 header: what is read from one, and what is refused."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qcow2_bytes import extension, v2, v3

from nornir_torque_vm.errors import ImageError
from nornir_torque_vm.qcow2 import HEADER_BYTES, MAGIC, Header, parse_header

GiB = 1 << 30
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def test_a_plain_version_2_header_is_read_field_by_field() -> None:
    """Each field comes from its own place, and nothing is claimed that is not there."""
    assert parse_header(v2()) == Header(
        version=2, cluster_size=65536, virtual_size=GiB, backing_file="", backing_format="", data_file="",
        encrypted=False, dirty=False, corrupt=False, unknown_features=0, tables_end=0x30010,
    )  # fmt: skip


def test_tables_end_is_the_end_of_the_last_table() -> None:
    """Whichever table lies last decides, the level-1 table (8 bytes an entry) or the refcount table."""
    assert parse_header(v2(l1_offset=0x100000, l1_size=3)).tables_end == 0x100018
    assert parse_header(v2(refcount_offset=0x100000, refcount_clusters=2)).tables_end == 0x120000


@pytest.mark.parametrize("bits", [9, 21])
def test_cluster_sizes_from_512_bytes_to_2_mebibytes_are_known(bits: int) -> None:
    """The format allows 2^9 to 2^21."""
    assert parse_header(v2(cluster_bits=bits)).cluster_size == 1 << bits


@pytest.mark.parametrize("bits", [0, 8, 22, 2**32 - 1])
def test_other_cluster_sizes_are_damage(bits: int) -> None:
    """Outside that range the number is refused before it is used as a shift."""
    with pytest.raises(ImageError, match=rf"damaged qcow2 header: clusters of 2\^{bits} bytes do not exist"):
        parse_header(v2(cluster_bits=bits))


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "starts with nothing: the file is empty"),
        (b"\x7fELF\x02\x01\x01\x00more", r"starts with '\\x7fELF\\x02\\x01\\x01\\x00'\)"),
        (b"QFI", r"starts with 'QFI'\)"),
        (b"KDMV" + bytes(600), "starts with 'KDMV"),
    ],
)
def test_a_file_that_is_no_qcow2_is_named_by_how_it_starts(data: bytes, shown: str) -> None:
    """The reader sees what the file really is and how to convert it."""
    with pytest.raises(ImageError, match=shown) as caught:
        parse_header(data, "image 'a.img'")
    assert str(caught.value).startswith("image 'a.img' is not a qcow2 image (")
    assert caught.value.hint == "convert it with: qemu-img convert -O qcow2 OLD NEW"


@pytest.mark.parametrize("version", [0, 1, 4])
def test_other_versions_are_refused(version: int) -> None:
    """Version 1 and those still to be invented have another layout."""
    with pytest.raises(ImageError) as caught:
        parse_header(v2(version=version) + bytes(200))
    assert str(caught.value) == (
        f"the image is qcow2 of version {version}, which is unknown here; "
        "convert it with: qemu-img convert -O qcow2 -o compat=1.1 OLD NEW"
    )


@pytest.mark.parametrize("data", [v2()[:71], MAGIC, v3()[:103]])
def test_a_header_cut_short_is_damage(data: bytes) -> None:
    """72 bytes for version 2 and 104 for version 3 are the least there can be."""
    with pytest.raises(ImageError, match=f"damaged qcow2 header: its header ends after {len(data)} bytes"):
        parse_header(data)


def test_a_version_3_header_that_claims_to_be_shorter_is_damage() -> None:
    """104 is right, 103 is not."""
    assert parse_header(v3(length=104)).version == 3
    with pytest.raises(ImageError, match="a header of 103 bytes is too short"):
        parse_header(v3(length=103))


@pytest.mark.parametrize(
    ("features", "dirty", "corrupt", "data_file", "unknown"),
    [
        (0, False, False, "", 0),
        (1, True, False, "", 0),
        (2, False, True, "", 0),
        (4, False, False, "?", 0),
        (8, False, False, "", 0),
        (16, False, False, "", 0),
        (32, False, False, "", 32),
        (1 << 63 | 3, True, True, "", 1 << 63),
    ],
)
def test_each_incompatible_feature_bit_has_its_own_meaning(
    features: int, dirty: bool, corrupt: bool, data_file: str, unknown: int
) -> None:
    """Dirty, corrupt, external data; compression type and extended entries are fine; the rest unknown."""
    header = parse_header(v3(features))
    assert (header.dirty, header.corrupt, header.data_file) == (dirty, corrupt, data_file)
    assert header.unknown_features == unknown


@pytest.mark.parametrize(("method", "encrypted"), [(0, False), (1, True), (2, True)])
def test_both_encryption_methods_count_as_encrypted(method: int, encrypted: bool) -> None:
    """AES is 1, LUKS is 2."""
    assert parse_header(v2(crypt=method)).encrypted is encrypted


def test_extensions_are_found_behind_others_and_behind_a_longer_header() -> None:
    """Unknown ones are stepped over in units of eight bytes; the name ends at its length."""
    extensions = (
        extension(0x6803F857, b"x" * 48)
        + extension(0x12345678, b"odd")
        + extension(0xE2792ACA, b"raw")
        + extension(0x44415441, b"data.raw")
        + extension(0, b"")
        + extension(0xE2792ACA, b"not read")
    )
    header = parse_header(v3(4, length=112, extensions=bytes(8) + extensions))
    assert header.backing_format == "raw"
    assert header.data_file == "data.raw"


def test_a_data_file_name_without_its_feature_bit_is_not_used() -> None:
    """QEMU opens an external data file only when the bit says so."""
    assert parse_header(v3(0, extensions=extension(0x44415441, b"data.raw"))).data_file == ""


def test_extensions_end_where_the_backing_name_starts() -> None:
    """What follows belongs to the name, even when it looks like an extension."""
    name = extension(0xE2792ACA, b"raw")
    header = parse_header(v3(backing_offset=104, backing_size=len(name), extensions=name))
    assert header.backing_format == ""
    assert header.backing_file.startswith("\udce2y*")


@pytest.mark.parametrize(
    ("header", "fits"),
    [
        (v3(extensions=struct.pack(">II", 0xE2792ACA, 5) + b"qcow2"), True),
        (v3(extensions=struct.pack(">II", 0xE2792ACA, 6) + b"qcow2"), False),
        (v3(backing_offset=115, backing_size=4, extensions=extension(0xE2792ACA, b"raw") + b"/abc"), True),
        (v3(backing_offset=114, backing_size=4, extensions=extension(0xE2792ACA, b"raw") + b"/abc"), False),
    ],
)
def test_an_extension_must_fit_before_the_end(header: bytes, fits: bool) -> None:
    """It may end exactly at the end of the header or at the backing name, not one byte later."""
    if fits:
        assert parse_header(header).backing_format in {"qcow2", "raw"}
    else:
        with pytest.raises(ImageError, match="a header extension runs past the header"):
            parse_header(header)


def test_the_backing_name_is_read_from_where_the_header_points() -> None:
    """Version 2 images have one too."""
    assert parse_header(v2(backing_offset=72, backing_size=9) + b"/pool/abcdef").backing_file == "/pool/abc"


@pytest.mark.parametrize(
    ("size", "extra", "good"),
    [(1, 1, True), (1023, 1023, True), (0, 5, False), (1024, 1024, False), (5, 4, False)],
)
def test_the_backing_name_has_1_to_1023_bytes_inside_the_header(size: int, extra: int, good: bool) -> None:
    """The format's own limits; anything else is damage, not an image without a backing file."""
    data = v2(backing_offset=72, backing_size=size) + b"x" * extra
    if good:
        assert parse_header(data).backing_file == "x" * size
    else:
        with pytest.raises(ImageError, match="the name of its backing file lies outside the header"):
            parse_header(data)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (v2()[:71], "its header ends after 71 bytes"),
        (v3()[:103], "its header ends after 103 bytes"),
        (v2(cluster_bits=8), "clusters of 2^8 bytes do not exist"),
        (v3(length=103), "a header of 103 bytes is too short"),
        (v3(extensions=struct.pack(">II", 1, 1)), "a header extension runs past the header"),
        (v2(backing_offset=72, backing_size=1), "the name of its backing file lies outside the header"),
    ],
)
def test_damage_is_told_with_the_files_name_and_a_cure(data: bytes, why: str) -> None:
    """Each kind in the same words around its reason; an extension header alone is long enough to be read."""
    with pytest.raises(ImageError) as caught:
        parse_header(data, "this file")
    assert str(caught.value) == (
        f"this file has a damaged qcow2 header: {why}; copy the image again from its source"
    )


def test_names_are_taken_as_they_are_written() -> None:
    """Bytes that are no UTF-8 and NULs stay, so that they are refused later instead of being cut."""
    name = b"/pool/\xe4\0"
    assert parse_header(v2(backing_offset=72, backing_size=8) + name).backing_file == "/pool/\udce4\0"


def read(data: bytes) -> Header | ImageError:
    """The header, or the one kind of error the reader may raise."""
    try:
        return parse_header(data)
    except ImageError as error:
        return error


@given(st.binary(max_size=300), st.sampled_from([b"", v2(), v3(), MAGIC + b"\0\0\0\2", MAGIC + b"\0\0\0\3"]))
def test_hostile_bytes_give_a_header_or_one_sentence(tail: bytes, start: bytes) -> None:
    """Whatever a user calls an image: any other exception would fail this test."""
    answer = read(start + tail)
    assert isinstance(answer, Header) or (answer.hint and "\n" not in str(answer))


@needs_qemu_img
@pytest.mark.parametrize("options", ["compat=0.10", "compat=1.1,lazy_refcounts=on", "cluster_size=2M"])
def test_headers_that_qemu_writes_are_understood(tmp_path: Path, options: str) -> None:
    """Both versions, with a backing file and its format, as ``qemu-img create`` lays them out."""
    base, image = tmp_path / "base.raw", tmp_path / "image"
    base.write_bytes(bytes(1 << 20))
    subprocess.run(
        [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-o",
            options,
            "-b",
            "base.raw",
            "-F",
            "raw",
            image,
            "3G",
        ],
        check=True,
    )
    data = image.read_bytes()
    header = parse_header(data[:HEADER_BYTES])
    assert (header.virtual_size, header.backing_file, header.backing_format) == (3 * GiB, "base.raw", "raw")
    assert header.tables_end <= len(data)
    assert header.unknown_features == 0
    assert header.version == (2 if "0.10" in options else 3)
