"""Which signals a process ignores, as far as anybody can say so."""

from __future__ import annotations

from typing import Final

LIBC_OWN: Final = frozenset({32, 33})
"""The C library keeps these to itself (signal(7), "Real-time signals"): no program that uses it can take
back what a parent without it ignores here."""


def ignored(line: str) -> set[int]:
    """The numbers in a ``SigIgn:`` line of /proc/PID/status."""
    key, _, mask = line.strip().partition(":")
    assert key == "SigIgn", line
    bits = int(mask, 16)
    return {number for number in range(1, 65) if bits >> number - 1 & 1} - LIBC_OWN
