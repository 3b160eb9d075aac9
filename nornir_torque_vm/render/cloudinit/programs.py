"""The programs that a seed has its guest run, as they travel in it."""

from __future__ import annotations

import functools
from importlib import resources


@functools.cache
def program(name: str) -> str:
    """Return one of this package's shell programs by its name: POSIX text for ``sh -c``, without comments."""
    text = resources.files(__package__).joinpath(f"{name}.sh").read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))
