"""The qcow2 file header: reading one, and writing the whole of an empty overlay.

Source of every number: QEMU's ``docs/interop/qcow2.txt``. All integers are big-endian. Only the
header and what it points at by name are looked at, never the data of the guest.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator

from nornir_torque_vm.errors import ImageError

MAGIC = b"QFI\xfb"
HEADER_BYTES = 65536
"""How much of a file :func:`parse_header` wants to see: the first cluster of usual images."""
MAX_SIZE = 16 << 40
"""Largest virtual disk that is accepted, bytes: what ext4 can hold in one file."""

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_CLUSTER_BITS = range(9, 22)
_MAX_BACKING_NAME = 1023
_EXT_END, _EXT_BACKING_FORMAT, _EXT_DATA_FILE = 0, 0xE2792ACA, 0x44415441
_DIRTY, _CORRUPT, _EXTERNAL_DATA = 1 << 0, 1 << 1, 1 << 2
_KNOWN_FEATURES = (1 << 5) - 1  # the three above, compression type, extended L2 entries


@dataclasses.dataclass(frozen=True, slots=True)
class Header:
    """What a qcow2 header says. Sizes and offsets in bytes."""

    version: int
    cluster_size: int
    virtual_size: int
    backing_file: str = ""
    """As written: relative to the image's own directory, absolute, or a QEMU URL; empty for none."""
    backing_format: str = ""
    data_file: str = ""
    """Name of the external data file, ``"?"`` when there is one without a name; empty for none."""
    encrypted: bool = False
    dirty: bool = False
    corrupt: bool = False
    unknown_features: int = 0
    """Bits of incompatible features this module has not heard of."""
    tables_end: int = 0
    """First byte after the tables the header points at; a shorter file was cut off."""


def parse_header(data: bytes, subject: str = "the image") -> Header:
    """Read a qcow2 header of version 2 or 3.

    :param data: the first :data:`HEADER_BYTES` of the file, or all of a shorter one.
    :param subject: how errors call the file.
    :raises ImageError: it is no qcow2 file, or the header contradicts itself.
    """
    if data[:4] != MAGIC:
        raise ImageError(
            f"{subject} is not a qcow2 image (starts with {_shown(data[:8])})",
            hint="convert it with: qemu-img convert -O qcow2 OLD NEW",
        )
    if len(data) < _V2.size:
        raise _damaged(subject, f"its header ends after {len(data)} bytes")
    (_, version, backing_offset, backing_size, cluster_bits, virtual_size, crypt_method,
     l1_size, l1_offset, refcount_offset, refcount_clusters, _, _) = _V2.unpack_from(data)  # fmt: skip
    if version not in {2, 3}:
        raise ImageError(
            f"{subject} is qcow2 of version {version}, which is unknown here",
            hint="convert it with: qemu-img convert -O qcow2 -o compat=1.1 OLD NEW",
        )
    if cluster_bits not in _CLUSTER_BITS:
        raise _damaged(subject, f"clusters of 2^{cluster_bits} bytes do not exist")
    features, header_length = _version_3_fields(data, subject) if version == 3 else (0, _V2.size)
    extensions = dict(_extensions(data, header_length, backing_offset, subject))
    cluster_size = 1 << cluster_bits
    data_file = _text(extensions.get(_EXT_DATA_FILE, b"")) or "?" if features & _EXTERNAL_DATA else ""
    return Header(
        version=version,
        cluster_size=cluster_size,
        virtual_size=virtual_size,
        backing_file=_backing_name(data, backing_offset, backing_size, subject),
        backing_format=_text(extensions.get(_EXT_BACKING_FORMAT, b"")),
        data_file=data_file,
        encrypted=crypt_method != 0,
        dirty=bool(features & _DIRTY),
        corrupt=bool(features & _CORRUPT),
        unknown_features=features & ~_KNOWN_FEATURES,
        tables_end=max(l1_offset + 8 * l1_size, refcount_offset + refcount_clusters * cluster_size),
    )


def overlay_bytes(base_path: str, base_format: str, virtual_size: int) -> bytes:
    """All bytes of an empty qcow2 (version 3) overlay on top of another image.

    Four parts, each starting at a cluster of 64 KiB: header, refcount table, one refcount block (16 bits
    a cluster, enough for 2 GiB of tables), and a level-1 table without entries: every read falls
    through to the base.

    :param base_path: absolute path of the base image, at most 1023 bytes; empty: the header names none, and
        QEMU has to be told.
    :param base_format: ``qcow2`` or ``raw``; written down so that QEMU never has to guess.
    :param virtual_size: size of the disk in bytes; rounded up to whole 512-byte sectors.
    :raises ImageError: a value that cannot be written into such a header.
    """
    name, fmt = base_path.encode("utf-8", "surrogateescape"), base_format.encode()
    if name and (not name.startswith(b"/") or b"\0" in name or len(name) > _MAX_BACKING_NAME):
        raise ImageError(
            f"{base_path!r} cannot be the base of an overlay",
            hint=f"it takes an absolute path of at most {_MAX_BACKING_NAME} bytes",
        )
    if base_format not in {"qcow2", "raw"}:
        raise ImageError(f"a base image of format {base_format!r} is not supported", hint="use qcow2 or raw")
    if not 0 < virtual_size <= MAX_SIZE:
        raise ImageError(f"an overlay of {virtual_size} bytes cannot be made", hint="give 1 byte to 16 TiB")
    bits = 16
    cluster = 1 << bits
    virtual_size = -(-virtual_size // 512) * 512
    l1_entries = -(-virtual_size // (cluster * cluster // 8))
    clusters = 3 + -(-8 * l1_entries // cluster)
    told = struct.pack(">II", _EXT_BACKING_FORMAT, len(fmt)) + fmt.ljust(8, b"\0") if name else b""
    extension = told + bytes(8)
    header_length = _V2.size + _V3.size
    offset = header_length + len(extension) if name else 0
    header = (
        _V2.pack(MAGIC, 3, offset, len(name), bits, virtual_size, 0,
                 l1_entries, 3 * cluster, cluster, 1, 0, 0)
        + _V3.pack(0, 0, 0, 4, header_length)
        + extension
        + name
    )  # fmt: skip
    refcount_table = struct.pack(">Q", 2 * cluster)
    refcount_block = struct.pack(">H", 1) * clusters
    parts = (header, refcount_table, refcount_block)
    return b"".join(part.ljust(cluster, b"\0") for part in parts) + bytes((clusters - 3) * cluster)


def _version_3_fields(data: bytes, subject: str) -> tuple[int, int]:
    """Incompatible features and header length."""
    if len(data) < _V2.size + _V3.size:
        raise _damaged(subject, f"its header ends after {len(data)} bytes")
    incompatible, _, _, _, header_length = _V3.unpack_from(data, _V2.size)
    if header_length < _V2.size + _V3.size:
        raise _damaged(subject, f"a header of {header_length} bytes is too short")
    return incompatible, header_length


def _extensions(data: bytes, offset: int, backing_offset: int, subject: str) -> Iterator[tuple[int, bytes]]:
    """Yield (type, content) of each header extension; they end where the backing file's name starts."""
    end = min(backing_offset or len(data), len(data))
    while offset + 8 <= end:
        kind, length = struct.unpack_from(">II", data, offset)
        if kind == _EXT_END:
            return
        offset += 8
        if offset + length > end:
            raise _damaged(subject, "a header extension runs past the header")
        yield kind, data[offset : offset + length]
        offset += -(-length // 8) * 8


def _backing_name(data: bytes, offset: int, size: int, subject: str) -> str:
    if not offset:
        return ""
    if not 0 < size <= _MAX_BACKING_NAME or offset + size > len(data):
        raise _damaged(subject, "the name of its backing file lies outside the header")
    return _text(data[offset : offset + size])


def _text(raw: bytes) -> str:
    """QEMU writes file names as bytes; keep what is no UTF-8 the way ``os.fsdecode`` does."""
    return raw.decode("utf-8", "surrogateescape")


def _shown(start: bytes) -> str:
    return repr(start)[1:] if start else "nothing: the file is empty"


def _damaged(subject: str, why: str) -> ImageError:
    return ImageError(
        f"{subject} has a damaged qcow2 header: {why}", hint="copy the image again from its source"
    )
