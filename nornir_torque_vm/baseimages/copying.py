"""Reading whole images: copying one, and the digest of its content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

CHUNK = 1 << 20
"""Bytes read at a time."""
_BLOCK = 1 << 16
"""Zeros of this many bytes become a hole."""
_ZEROS = bytes(_BLOCK)

Tell = Callable[[int], None]
"""Is told the bytes that are done, now and then."""


def digest_of(fd: int, tell: Tell) -> str:
    """Return the SHA-256 of all of a file as 64 hexadecimal digits.

    :raises OSError: it cannot be read.
    """
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(fd, CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
        tell(offset)
    return digest.hexdigest()


def copy(source: int, target: int, tell: Tell) -> str:
    """Copy all of a file into an empty one, which has holes for zeros; return the digest of the content.

    :param source, target: descriptors, the one readable, the other writable.
    :raises OSError: it cannot be read, or there is no room for it.
    """
    digest, offset = hashlib.sha256(), 0
    while chunk := os.pread(source, CHUNK, offset):
        digest.update(chunk)
        for start in range(0, len(chunk), _BLOCK):
            block = chunk[start : start + _BLOCK]
            if block != _ZEROS[: len(block)]:
                _write_all(target, block, offset + start)
        offset += len(chunk)
        tell(offset)
    os.ftruncate(target, offset)
    os.fsync(target)
    return digest.hexdigest()


def _write_all(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written
