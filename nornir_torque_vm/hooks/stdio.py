"""A hook may start with descriptors 1 and 2 closed (TF 1.5): put them in order first."""

from __future__ import annotations

import os


def settle_stdio() -> None:
    """Make sure descriptors 0, 1 and 2 are open, so that no file opened later becomes one of them."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            return
