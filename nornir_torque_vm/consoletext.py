"""What a guest's console says: read from bytes that the guest chose. Pure.

Whatever a guest prints reaches administrators' terminals and users' error files, so nothing in it that a
terminal would act on gets through.
"""

from __future__ import annotations

import re

LINE_LENGTH = 200
"""Characters of a line that are repeated; the guest decides what it prints."""
LAST_LINES = 3
"""How many of the last lines an error repeats."""

_PANIC = re.compile(r"Kernel panic - not syncing")
"""How every Linux kernel begins the line with which it gives up (kernel/panic.c)."""
_FATAL = re.compile(
    r"Kernel panic|Unable to mount root|emergency mode|dracut: FATAL|grub rescue|[Nn]o bootable device"
    r"|not a bootable disk|I/O error, dev vd"
)
"""What explains a death better than what was printed after it: a panic is followed by registers."""
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # a control sequence (ECMA-48, 5.4)
    r"|\x1b[\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?"  # a command string, such as a window's title (5.6)
    r"|\x1b[ -/]*[0-~]?"
)


def lines_of(data: bytes) -> list[str]:
    """The lines with something to read in them, without terminal escapes and other control characters."""
    text = _ESCAPES.sub("", data.decode(errors="replace").replace("\r", "\n"))
    lines = (
        "".join(c for c in line.replace("\t", " ") if c.isprintable()).strip() for line in text.split("\n")
    )
    return [line[:LINE_LENGTH] for line in lines if line]


def last_words(lines: list[str], count: int = LAST_LINES) -> list[str]:
    """The line that says why a guest died, else the last lines."""
    return [line for line in lines if _FATAL.search(line)][:1] or lines[-count:]


def panic(lines: list[str]) -> str:
    """The line with which the guest's kernel gave up; empty while it has not."""
    return next((line for line in lines if _PANIC.search(line)), "")
