"""Sizes as ``qsub -l mem=`` takes them; not those of ``-vm ram=``, which are in ``sizes``.

TORQUE 6.1.3, src/lib/Libattr/attr_fn_size.c: to_size reads a number as C's strtol does with base 0
(``0x10`` is sixteen, ``010`` is eight), then at most one of k, m, g, t, p and e in either case, then
b for bytes or w for words. Without a letter it is bytes. Behind two letters anything may follow:
``2gbyte`` is two gigabytes. ``2g``, ``2G`` and ``2gb`` are the same; ``2GW`` is 8 GiB, because a word
is an ``int`` to the MOM that enforces the limit (src/resmom/linux/mom_mach.c: mm_getsize).
"""

from __future__ import annotations

import re

WORD = 4
"""Bytes of a word. pbs_sched takes 8 for it; with the smaller number nothing is taken for enough."""

_UNITS = ("", "k", "m", "g", "t", "p", "e")


def read_size(text: str) -> int | None:
    """Return the bytes that ``text`` is to TORQUE; None where the server refuses it.

    A negative number is as good as no limit: the server stores it as an unsigned one.
    """
    match = re.fullmatch(
        r"[ \t-\r]*([+-]?)((?>0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*))(?:([kmgtpe])(?:([bw]).*)?|([bw])?)",
        text,
        re.ASCII | re.IGNORECASE | re.DOTALL,
    )
    if match is None:
        return None
    sign, digits, unit, letter, lone = match.groups()
    number = _number(digits)  # strtol stays within a long, and the server calls it unsigned
    number = -min(number, 1 << 63) % (1 << 64) if sign == "-" else min(number, (1 << 63) - 1)
    word = (letter or lone or "b").lower() == "w"
    return number * (WORD if word else 1) << 10 * _UNITS.index((unit or "").lower())


def write_size(size: int) -> str:
    """Return ``size`` bytes, rounded up to 1024, in the largest unit that is exact: ``4608mb``."""
    number, unit = -(-size // 1024), 1
    while number and number % 1024 == 0 and unit < _UNITS.index("t"):
        number, unit = number // 1024, unit + 1
    return f"{number}{_UNITS[unit]}b"


def _number(digits: str) -> int:
    """Return the value of ``digits`` by C's prefixes: 0x, 0 or none; what strtol clamps may be cut."""
    base = 16 if digits[1:2] in {"x", "X"} else 8 if digits.startswith("0") else 10
    return int(digits[:4000], base)  # Python reads no more than 4300 decimal digits
