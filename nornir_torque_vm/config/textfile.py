"""Writing a small text file so that nobody ever sees half of it, or the wrong mode."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file atomically, with ``mode`` from its first moment; one that is right stays as it is."""
    with contextlib.suppress(OSError):
        if path.read_text(encoding="utf-8") == text:
            path.chmod(mode)
            return
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 -- a descriptor, not a path
        os.fchmod(fd, mode)
        file.write(text)
    fresh.replace(path)
