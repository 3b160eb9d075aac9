"""Sizes of memory and disks as people write them: a whole number and K, M, G or T, all binary.

The earlier system multiplied and divided in the wrong places, so ``ram=`` never worked; here every
size inside the program is a number of bytes, and only this module knows the letters.
"""

from __future__ import annotations

import re

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
"""Letter → bytes."""
LARGEST = 1 << 60
"""No machine has more bytes than this; a larger number is a slip, and libvirt counts in 64 bits."""

_SIZE = re.compile(r"([0-9]{1,20})([KMGT]?)", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes ``text`` (``192M``, ``2G``, ``512K``, ``1T``) stands for.

    :raises ValueError: a sentence that begins with "must" and goes on after the name of what was
        read: no number, no unit, zero, or more than 1048576T.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("must be a whole number followed by K, M, G or T, such as 512M or 2G")
    number, unit = int(match[1]), match[2].upper()
    if number == 0:
        raise ValueError("must be more than 0")
    if not unit:
        raise ValueError("must have a unit, K, M, G or T: 512M or 2G, for example")
    size = number * UNITS[unit]
    if size > LARGEST:
        raise ValueError(f"must be at most {format_size(LARGEST)}")
    return size


def power_of_two(size: int) -> int:
    """Return the least power of two that is not less than ``size`` bytes (at least 1).

    What guests share is a PCI device's memory, which has no other sizes (PCI Local Bus Specification 3.0,
    6.2.5.1).
    """
    return 1 << (size - 1).bit_length()


def format_size(size: int) -> str:
    """Return ``size`` bytes as a whole number of the largest fitting unit, exactly.

    What :func:`parse_size` gave comes back as the same size; a number of bytes that is no multiple
    of 1024 is for people only and reads ``1000 bytes``.
    """
    for unit in ("T", "G", "M", "K"):
        number, rest = divmod(size, UNITS[unit])
        if number and not rest:
            return f"{number}{unit}"
    return f"{size} bytes"
