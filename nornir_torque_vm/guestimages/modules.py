"""Kernel modules for an initramfs: which others each needs, in an order insmod can follow; pure.

A Debian kernel package carries no ``modules.dep`` (depmod writes it at installation), so the
dependencies come from the modules themselves: the ``depends=`` line of their .modinfo section.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_SIGNATURE_MAGIC = b"~Module signature appended~\n"
_SIGNATURE_HEADER = 12
"""Bytes of ``struct module_signature`` (kernel, include/linux/module_signature.h); its last four
are the length of the signature before it, big-endian."""


def canonical(name: str) -> str:
    """The kernel's own spelling: file names may say ``virtio-rng``, the kernel says ``virtio_rng``."""
    return name.replace("-", "_")


def depends(module: bytes) -> tuple[str, ...]:
    """Names of the modules that have to be there before ``module``.

    :raises ValueError: it is no kernel module.
    """
    found = re.search(rb"\0depends=([^\0]*)\0", module)
    if found is None:
        raise ValueError("no kernel module: it does not say what it depends on")
    return tuple(canonical(name) for name in found.group(1).decode("ascii").split(",") if name)


def load_order(wanted: Iterable[str], read: Callable[[str], bytes]) -> tuple[str, ...]:
    """``wanted`` and all they need, each once and after its needs.

    :param read: content of a module by canonical name; whatever it raises comes through.
    """
    seen: set[str] = set()
    order: list[str] = []

    def visit(name: str) -> None:
        if name in seen:
            return
        seen.add(name)
        for need in depends(read(name)):
            visit(need)
        order.append(name)

    for name in wanted:
        visit(canonical(name))
    return tuple(order)


def unsigned(module: bytes) -> bytes:
    """``module`` without the signature at its end: checking one costs the guest time and buys it nothing."""
    if not module.endswith(_SIGNATURE_MAGIC):
        return module
    header_end = len(module) - len(_SIGNATURE_MAGIC)
    length = int.from_bytes(module[header_end - 4 : header_end], "big")
    return module[: header_end - _SIGNATURE_HEADER - length]
