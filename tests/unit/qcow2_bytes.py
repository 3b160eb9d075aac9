"""qcow2 headers to test with, field by field, right or wrong."""

from __future__ import annotations

import struct

GiB = 1 << 30
MAGIC = b"QFI\xfb"


def v2(**changes: int | bytes) -> bytes:
    """A version 2 header whose fields can be overridden by name."""
    fields: dict[str, int | bytes] = {
        "magic": MAGIC, "version": 2, "backing_offset": 0, "backing_size": 0, "cluster_bits": 16,
        "size": GiB, "crypt": 0, "l1_size": 2, "l1_offset": 0x30000, "refcount_offset": 0x10000,
        "refcount_clusters": 1, "snapshots": 0, "snapshots_offset": 0,
    }  # fmt: skip
    fields.update(changes)
    return struct.pack(">4sIQIIQIIQQIIQ", *fields.values())


def v3(features: int = 0, length: int = 104, extensions: bytes = b"", **changes: int | bytes) -> bytes:
    """A version 3 header followed by its extensions."""
    return v2(version=3, **changes) + struct.pack(">QQQII", features, 0, 0, 4, length) + extensions


def extension(kind: int, content: bytes) -> bytes:
    """One header extension, padded to eight bytes."""
    return struct.pack(">II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8, b"\0")


def image_bytes(
    size: int = GiB,
    *,
    backing: bytes = b"",
    fmt: bytes = b"",
    features: int = 0,
    crypt: int = 0,
    data_file: bytes = b"",
) -> bytes:
    """A whole file of 128 KiB: header, extensions, backing name and zeros where the tables would be."""
    parts = ((0xE2792ACA, fmt), (0x44415441, data_file))
    extensions = b"".join(extension(kind, text) for kind, text in parts if text) + bytes(8)
    header = v3(
        features, extensions=extensions, size=size, crypt=crypt, backing_size=len(backing),
        backing_offset=104 + len(extensions) if backing else 0,
        l1_size=1, l1_offset=0x10000, refcount_offset=0x10000,
    )  # fmt: skip
    return (header + backing).ljust(0x20000, b"\0")
