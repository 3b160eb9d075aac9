"""A hook's descriptors 1 and 2 may be closed (TF 1.5) or lead to a full disk; neither may change its end."""

from __future__ import annotations

import contextlib
import os
import sys

from nornir_torque_vm.errors import one_line


def settle_stdio() -> None:
    """Make sure descriptors 0, 1 and 2 are open, so that no file opened later becomes one of them."""
    while True:
        fd = os.open(os.devnull, os.O_RDWR)
        if fd > 2:
            os.close(fd)
            break
    for fd, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:  # what Python makes of a descriptor that was closed when it began
            setattr(sys, name, open(fd, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def say(sentence: str) -> None:
    """Write one line to stderr, for a batch job its error file; what cannot be written is not said."""
    with contextlib.suppress(OSError):
        print(f"torque-vm: {one_line(sentence)}", file=sys.stderr, flush=True)
