"""What libvirt's refusals about volumes mean."""

from __future__ import annotations

import errno
import os
from typing import Any

from nornir_torque_vm.storage.base import FULL

INTERNAL_ERROR = 1
"""``VIR_ERR_INTERNAL_ERROR``: among others what a refresh gets while a volume is being made."""
SYSTEM_ERROR = 38
"""``VIR_ERRSYSTEM_ERROR``; its first number is the ``errno``."""


class Forgiving:
    """Ends its ``with`` block quietly at a ``libvirtError`` of these codes."""

    def __init__(self, *codes: int) -> None:
        self._codes = codes

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        """Return whether the block may end like this."""
        from libvirt import libvirtError

        return isinstance(error, libvirtError) and error.get_error_code() in self._codes


def is_full(error: Any) -> bool:
    """Whether a ``libvirtError`` means that there is no room."""
    if error.get_error_code() == SYSTEM_ERROR:
        return error.get_int1() in FULL
    # Overlays are made by qemu-img, whose exit status carries no number.
    return error.get_error_code() == INTERNAL_ERROR and os.strerror(errno.ENOSPC) in str(error)
